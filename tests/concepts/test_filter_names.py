"""What filters are called: by a table, by a list, or by their numbers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from semexplain.concepts.filters import Filters
from semexplain.performers.network import Network
from semexplain.system.trouble import Trouble

TABLE = """layer,unit,description,similarity
layer1,0,edge,0.9
layer2,2,fur,0.2
layer2,0,"snout, wet",0.1
layer2,0,ear,0.05
layer2,3,fur,0.3
layer2,4,,0.9
"""


class Net(nn.Module):
    """Two layers with names, of 2 and 5 maps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 2, 3), nn.Conv2d(2, 5, 3)
        self.fc = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer2(self.layer1(x).relu()).relu().mean((2, 3)))


def named(names: object, layer: str = "layer2") -> tuple[str, ...]:
    torch.manual_seed(0)
    return Network(Net(), layer, output=0, transform={"size": [3, 12, 12]}, kind=Filters(names)).concept_names  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (file := tmp_path / "units.csv").write_text("\ufeff" + TABLE)
    return file


def test_the_rows_of_the_layer_are_taken(table: Path):
    """The most similar of a unit's, numbers where two are called the same, and where there is no name."""
    assert named(table) == ("snout, wet", "filter_001", "fur 2", "fur 3", "filter_004")
    assert named(str(table), "layer1") == ("edge", "filter_001")


def test_names_by_hand_and_none():
    assert named(["a", "b"], "layer1") == ("a", "b")
    assert named(None, "layer1") == ("filter_000", "filter_001")


def test_names_change_no_number(table: Path):
    assert Filters(table).variant == Filters().variant


def test_a_layer_that_is_not_in_the_table_is_refused_with_those_that_are(table: Path):
    table.write_text(TABLE.replace("layer2", "layer4"))
    message = r"names: concepts are read at layer2 \(did you mean 'layer.'\?\), .*units.csv is about layer1, layer4"
    with pytest.raises(Trouble, match=message):
        named(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,unit,descripton\nlayer2,0,a\n", r"has no column 'description' \(did you mean 'descripton'\?\)"),
        ("layer,unit,description\nlayer2,5,a\n", r"line 2: unit 5, but the layer has 5, from 0 on"),
        ("layer,unit,description\nlayer2,x,a\n", "line 2: expected a unit's number"),
        ("layer,unit,description,similarity\nlayer2,1,a,b\n", "line 2: expected a unit's number and a similarity"),
        ("layer,unit,description\nlayer2,1,filter_000\n", "two filters would be called 'filter_000'"),
        ("", "has no column 'layer'"),
    ],
)
def test_a_table_that_says_something_else_is_refused(text: str, message: str, table: Path):
    table.write_text(text)
    with pytest.raises(Trouble, match=message):
        named(table)


def test_what_names_cannot_be_read_from_is_named(tmp_path: Path):
    with pytest.raises(Trouble, match=r"names: there is no file .*none.csv. Expected a table layer,unit,description"):
        named(tmp_path / "none.csv")
    with pytest.raises(Trouble, match="names: expected one for each of 5 filters, got 2"):
        named(["a", "b"])
    with pytest.raises(Trouble, match="two filters would be called 'a'"):
        named(["a", "a"], "layer1")
