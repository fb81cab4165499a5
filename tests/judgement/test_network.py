"""The verdict in one call, on explanations and on tables from elsewhere."""

import pandas as pd
import pytest
import torch
from attributions.toys import SLOPES, Filters, Toy
from judgement.worlds import explained, world
from torch import nn

import semexplain
from semexplain.concepts import filters
from semexplain.explanation import Explanation
from semexplain.system.trouble import Trouble

N = 60


class Sums(Toy):
    """A linear layer on the sums of the maps, with weights that can be drawn anew."""

    kind, output_names = filters.Filters(), ("score",)

    def __init__(self) -> None:
        super().__init__(4)
        self.layer = nn.Linear(4, 1)
        with torch.no_grad():
            self.layer.weight.copy_(SLOPES[None])
            self.layer.bias.fill_(5)
        self.freeze()

    def feature(self, feature_map: torch.Tensor) -> torch.Tensor:
        return feature_map

    def outputs(self, feature: torch.Tensor) -> torch.Tensor:
        return self.layer(feature.sum((2, 3)))


@pytest.fixture(scope="module")
def network() -> Sums:
    return Sums()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 255, (N, 4, 3, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.fixture(scope="module")
def truth(images: torch.Tensor) -> torch.Tensor:
    return images.float().sum((2, 3)) * SLOPES


def test_a_table_of_true_contributions_is_faithful(network: Sums, images: torch.Tensor, truth: torch.Tensor):
    found = semexplain.verdict(truth, network, images)
    assert found.word == "FAITHFUL", str(found)
    assert "taking concepts away at the feature x, not in the image" in str(found)
    frame = pd.DataFrame(truth.numpy(), columns=list(network.concept_names))
    assert semexplain.verdict(frame[frame.columns[::-1]], network, images).word == "FAITHFUL"
    assert semexplain.verdict([truth, truth, truth], network, images).seeds == 3


def test_a_table_that_adds_up_and_says_nothing_is_not(network: Sums, images: torch.Tensor, truth: torch.Tensor):
    equal = truth.sum(1, keepdim=True).expand(-1, 4) / 4
    assert semexplain.verdict(equal, network, images).word == "NOT FAITHFUL"


def test_an_explanation_brings_its_pictures(network: Sums, images: torch.Tensor, truth: torch.Tensor):
    told = Explanation(
        network(images).score, images.float().sum((2, 3)), SLOPES.expand(N, -1), torch.tensor(5.0),
        network.concept_names, image=images, ids=tuple(f"{i}.jpg" for i in range(N)),
    )  # fmt: skip
    assert semexplain.verdict(told, network).word == "FAITHFUL"


def test_what_has_no_weights_cannot_be_drawn_anew(images: torch.Tensor, truth: torch.Tensor):
    found = semexplain.verdict(truth, Filters(linear=True), images)
    said = "nothing above the feature map has weights that could be drawn anew"
    assert (found.word, found.reason) == ("NOT SHOWN", said)


def test_other_interventions_may_be_given():
    known = world()
    assert semexplain.verdict(explained(known.interventions, known.truth), known.interventions).word == "FAITHFUL"
    assert semexplain.verdict(known.truth.float(), known.interventions).word == "FAITHFUL"


def test_what_does_not_belong_together_is_refused(network: Sums, images: torch.Tensor, truth: torch.Tensor):
    with pytest.raises(Trouble, match=r"images: expected the explained images as uint8 \(N, 4, H, W\), got none"):
        semexplain.verdict(truth, network)
    with pytest.raises(Trouble, match=r"images: expected .* got torch.float32 \(60, 4, 3, 3\)"):
        semexplain.verdict(truth, network, images.float())
    with pytest.raises(Trouble, match=r"contributions: expected \(60, 4\), .* got \(60, 3\)"):
        semexplain.verdict(truth[:, :3], network, images)
    with pytest.raises(Trouble, match="contributions: the network has no concept 'nose'"):
        semexplain.verdict(pd.DataFrame({"nose": [0.0] * N}), network, images)
    with pytest.raises(Trouble, match="contributions: expected a row for each of 60 images, got 2"):
        semexplain.verdict(pd.DataFrame({network.concept_names[0]: [0.0, 1.0]}), network, images)
