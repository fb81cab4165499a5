"""Naming by erasing as a run does it: from strengths alone, kept, and continued after an interruption."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from semexplain.concepts.erasing import erasing_effects, soft_assignment
from semexplain.concepts.filters import Filters
from semexplain.data.framing import Framing
from semexplain.performers.base import Performer
from semexplain.runs.naming import PartNaming

SIDE, IMAGES, NAMES = 24, 21, ("eye", "torso", "leg")
CPU = torch.device("cpu")


class Colours(Performer):
    """Filters are averages of red, green and blue; what it says of the target must not be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = Filters()
        self.target_name, self.output_names = "dog", ("dog",)
        self.image_shape, self.map_shape = (3, SIDE, SIDE), (3, 6, 6)

    def encode(self, image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image.float(), 4)

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        return torch.full((len(feature), 1), torch.nan)


class Scenes:
    """An eye that is red on a torso that is green, each in a box; legs are not to be seen."""

    parts, framing, names = NAMES, Framing.of(SIDE), ("dog",)

    def __init__(self) -> None:
        self.naming = SimpleNamespace(ids=tuple(f"image {i}" for i in range(IMAGES)), read=self.read)
        self.reads: list[int] = []
        self.lost: int | None = None

    def fingerprint(self) -> str:
        return "scenes"

    def place(self, index: int) -> tuple[int, int]:
        return index % 5 + 2, index % 4 + 2

    def part_map(self, split: object, index: int) -> np.ndarray:
        top, left = self.place(index)
        part_map = np.full((SIDE, SIDE), -1, np.int16)
        part_map[top : top + 12, left : left + 14] = 1
        part_map[top + 2 : top + 5, left + 2 : left + 5] = 0
        return part_map

    def read(self, index: int, size: int) -> Tensor:
        if index == self.lost:
            raise OSError("the disk is gone")
        self.reads.append(index)
        part_map = torch.from_numpy(self.part_map(None, index))
        image = torch.full((3, SIDE, SIDE), 60, dtype=torch.uint8)
        image[1, part_map == 1], image[0, part_map == 0] = 200, 250
        return image


def test_names_are_shares_of_the_mean_effects_and_made_once(tmp_path: Path) -> None:
    performer, data = Colours(), Scenes()
    parts, again = (PartNaming()(performer, data, CPU, tmp_path) for _ in range(2))  # type: ignore[arg-type]
    assert len(data.reads) == IMAGES
    effects = torch.stack(
        [
            erasing_effects(
                lambda some: performer.encode(some).sum((2, 3)), data.read(i, SIDE), data.part_map(None, i), 3, i
            )
            for i in range(IMAGES)
        ]
    )
    assignment, matrix = soft_assignment(effects.double().mean(0).T.numpy())
    assert parts.assignment == again.assignment == tuple(assignment)
    assert parts.matrix is not None
    np.testing.assert_allclose(parts.matrix, matrix, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again.matrix, parts.matrix, rtol=0)
    assert assignment[:2] == [0, 1]  # red is the eye's
    assert parts.source == "erased"
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock"] == [
        ".yaml"
    ]  # effects are cleared away


def test_an_interrupted_naming_goes_on_where_it_was(tmp_path: Path) -> None:
    performer, data, whole = Colours(), Scenes(), Scenes()
    expected = PartNaming()(performer, whole, CPU, tmp_path / "whole")  # type: ignore[arg-type]
    data.lost = 17
    with pytest.raises(OSError, match="the disk is gone"):
        PartNaming()(performer, data, CPU, tmp_path / "cache")  # type: ignore[arg-type]
    assert not list((tmp_path / "cache").glob("*.yaml"))
    data.lost, data.reads = None, []
    found = PartNaming()(performer, data, CPU, tmp_path / "cache")  # type: ignore[arg-type]
    assert data.reads == list(range(16, IMAGES))
    np.testing.assert_array_equal(found.matrix, expected.matrix)


@pytest.mark.parametrize("method", ["peak", "iou"])
def test_peaks_and_overlaps_stay_whole_names(method: str, tmp_path: Path) -> None:
    parts = PartNaming(method)(Colours(), Scenes(), CPU, tmp_path)  # type: ignore[arg-type]
    assert parts.matrix is None
    assert set(np.unique(parts.shares)) <= {0.0, 1.0}
