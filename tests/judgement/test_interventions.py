"""What becomes of scores without their concepts: at x, in drawn images and in photos, against passes one by one."""

import numpy as np
import pytest
import torch
from attributions.toys import Filters, Outputs
from torch import Tensor, nn

from semexplain.concepts import filters, outputs
from semexplain.concepts.erasing import filled, region_of
from semexplain.data.drawn.scenes import Scene
from semexplain.judgement.drawn import drawn
from semexplain.judgement.erased import erased
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import moved
from semexplain.performers.base import Performer
from semexplain.performers.redrawn import HEADS, with_redrawn_head

IDS = tuple(f"{i}.jpg" for i in range(40))


def maps(channels: int, seed: int = 0) -> Tensor:
    return torch.randn(40, channels, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_filters_are_set_to_zero_one_by_one():
    network, x = Filters(), maps(4)
    facts = moved(network, x, [0, 2, 3], IDS)
    for network_of, table in (
        (network, facts.effects),
        *zip(map(redrawn_of(network), HEADS), facts.redrawn, strict=True),
    ):
        for column, channel in enumerate((0, 2, 3)):
            without = x.clone()
            without[:, channel] = 0
            expected = network_of.head(x)[0] - network_of.head(without)[0]
            torch.testing.assert_close(table[:, column], expected, rtol=1e-4, atol=1e-5)
    assert facts.names == tuple(network.concept_names[i] for i in (0, 2, 3))
    torch.testing.assert_close(facts.strengths, x.sum((2, 3))[:, [0, 2, 3]])
    torch.testing.assert_close(facts.score, network.head(x)[0])


def redrawn_of(network: Performer):
    return lambda seed: with_redrawn_head(network, seed).freeze()


def test_redrawn_heads_differ_from_the_network_and_from_each_other():
    facts = moved(Filters(), maps(4), [0, 1], IDS)
    tables = [facts.effects, *facts.redrawn]
    assert all(not torch.allclose(tables[i], tables[j]) for i in range(4) for j in range(i))


def test_outputs_that_are_coordinates_of_x_go_to_their_means():
    network = Outputs()
    x = maps(1)
    facts = moved(network, x, [0, 1, 2, 3], IDS)
    strengths = network.head(network.feature(x))[1]
    assert facts.known == network.concept_names
    torch.testing.assert_close(facts.strengths, strengths)
    shift = strengths - strengths.mean(0)
    ratio = facts.effects / shift  # the score is linear: one slope for all images
    torch.testing.assert_close(ratio, ratio.median(0).values.expand_as(ratio), rtol=0.02, atol=0.02)


class Together(Performer):
    """Two outputs that are one function of x, twice, and one that goes its own way."""

    kind, output_names, target_name = outputs.Outputs(), ("score", "a", "twin", "alone"), "score"

    def __init__(self) -> None:
        super().__init__()
        self.image_shape, self.map_shape = (2, 3, 3), (2, 3, 3)
        self.freeze()

    def encode(self, image: Tensor) -> Tensor:
        return image

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(1)[:, :2]

    def outputs(self, feature: Tensor) -> Tensor:
        one, other = feature.T
        return torch.stack([one + other, one, one, other], 1)


def test_outputs_that_only_move_together_are_not_known():
    facts = moved(Together(), maps(2), [0, 1, 2], IDS)
    assert facts.known == ("alone",)
    assert facts.effects[:, :2].isnan().all()
    assert facts.redrawn.isfinite().all()


class Bright(Performer):
    """The score is the product of what is bright in the upper and the lower half, and some of each."""

    kind, output_names, target_name = filters.Filters(), ("score",), "score"

    def __init__(self) -> None:
        super().__init__()
        self.image_shape, self.map_shape = (3, 8, 8), (2, 1, 1)
        self.last = nn.Linear(3, 1)
        with torch.no_grad():
            self.last.weight.copy_(torch.tensor([[1.0, 2.0, 0.5]]))
            self.last.bias.zero_()
        self.freeze()

    def encode(self, image: Tensor) -> Tensor:
        halves = image.float()[:, 0].unflatten(1, (2, 4)).mean((2, 3)) / 100
        return halves[:, :, None, None]

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        halves = feature.sum((2, 3))
        return self.last(torch.cat([halves, halves.prod(1, keepdim=True)], 1))


def scenes(count: int, present: np.ndarray) -> list[Scene]:
    def draw(state: np.ndarray, level: int) -> Tensor:
        picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
        picture[:, :4] = level * bool(state[0])
        picture[:, 4:] = 100 * bool(state[1])
        return picture

    return [Scene(i, present[i], lambda state, level=10 + i: draw(state, level)) for i in range(count)]


def score_of(level: float, upper: bool, lower: bool) -> float:
    a, b = level / 100 * upper, 1.0 * lower
    return a + 2 * b + 0.5 * a * b


def test_drawn_images_lose_a_concept_as_often_as_it_changes():
    present = np.array([[True, True], [False, True], [True, False]])
    rates = np.array([0.25, 0.5])
    facts = drawn(Bright(), scenes(3, present), ("upper", "lower"), rates, IDS[:3], torch.zeros(3, 2))
    for i in range(3):
        upper, lower = present[i]
        whole = score_of(10 + i, upper, lower)
        without = [score_of(10 + i, not upper, lower), score_of(10 + i, upper, not lower)]
        chance = np.where(present[i], 1 - rates, rates)
        expected = [c * (whole - other) for c, other in zip(chance, without, strict=True)]
        assert facts.effects[i].tolist() == pytest.approx(expected, abs=1e-5)
        assert float(facts.score[i]) == pytest.approx(whole, abs=1e-5)
    assert facts.ends is None
    assert facts.redrawn.shape == (3, 3, 2)


def test_where_a_concept_taken_away_is_absent_effects_lie_between_removal_and_standing_alone():
    facts = drawn(
        Bright(), scenes(3, np.ones((3, 2), bool)), ("upper", "lower"), np.zeros(2), IDS[:3], torch.zeros(3, 2)
    )
    for i in range(3):
        level = 10 + i
        removal = [score_of(level, True, True) - score_of(level, False, True)]
        removal.append(score_of(level, True, True) - score_of(level, True, False))
        alone = [score_of(level, True, False), score_of(level, False, True)]
        assert facts.ends[0, i].tolist() == pytest.approx(removal, abs=1e-5)
        assert facts.ends[1, i].tolist() == pytest.approx(alone, abs=1e-5)
        assert facts.effects[i].tolist() == pytest.approx(np.mean([removal, alone], 0).tolist(), abs=1e-5)


def test_parts_are_erased_in_two_ways_one_by_one():
    network, chance = Bright(), np.random.default_rng(0)
    images, part_maps = [], []
    for i in range(3):
        images.append(torch.from_numpy(chance.integers(0, 255, (3, 8, 8), dtype=np.uint8)))
        part_map = np.full((8, 8), -1)
        part_map[1:3, 2:5] = 0
        if i:
            part_map[5:7, 1:4] = 2
        part_maps.append(part_map)
    facts = erased(network, zip(images, part_maps, strict=True), ("a", "b", "c"), IDS[:3], torch.zeros(3, 3))
    for i, (image, part_map) in enumerate(zip(images, part_maps, strict=True)):
        whole = network(image[None]).score
        for part in range(3):
            if not (part_map == part).any():
                assert facts.effects[i, part] == 0
                continue
            fills = filled(image, [region_of(part_map, part)])[0]
            expected = (whole - torch.cat([network(fill[None]).score for fill in fills])).mean()
            torch.testing.assert_close(facts.effects[i, part], expected, rtol=1e-4, atol=1e-5)


def test_rows_and_columns_go_to_where_they_are_asked_for():
    facts = moved(Filters(), maps(4), [0, 1, 2, 3], IDS)
    other = facts.aligned(IDS[5:8][::-1], ("filter_002", "nothing", "filter_000"))
    torch.testing.assert_close(other.effects[:, [0, 2]], facts.effects[[7, 6, 5]][:, [2, 0]])
    torch.testing.assert_close(other.redrawn[:, :, 2], facts.redrawn[:, [7, 6, 5], 0])
    assert other.effects[:, 1].isnan().all()
    assert other.known == ("filter_002", "filter_000")


def test_shapes_that_do_not_fit_are_refused():
    two = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"effects must have the shape \(2, 3\), got \(2, 2\)"):
        Interventions("x", ("a", "b"), ("p", "q", "r"), torch.zeros(2), two[:, :2], two[None], two)
    with pytest.raises(ValueError, match=r"redrawn must have the shape \(R, 2, 3\), got \(2, 3\)"):
        Interventions("x", ("a", "b"), ("p", "q", "r"), torch.zeros(2), two, two, two)
