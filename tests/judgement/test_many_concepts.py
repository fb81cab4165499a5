"""More concepts than are taken away one by one: slopes where they add up, else some that are drawn."""

import pytest
import torch
from attributions.toys import Filters, Outputs
from judgement.worlds import explained
from torch import Tensor

from semexplain.judgement.additive import additive_effects
from semexplain.judgement.moved import MEANS, MOST, moved
from semexplain.judgement.verdict import judged
from semexplain.performers.base import Performer

N, CHANNELS, FEW = 40, 12, 5
IDS = tuple(f"{i}.jpg" for i in range(N))


class Pooled(Filters):
    """Maps, a ReLU, their mean and a layer: concepts add up."""

    def __init__(self) -> None:
        super().__init__(CHANNELS)
        self.first = torch.nn.Linear(CHANNELS, 1).requires_grad_(False)

    def outputs(self, feature: Tensor) -> Tensor:
        return self.first(feature.relu().mean((2, 3)))


class Bent(Pooled):
    """The same, but for the product of two of the concepts."""

    def outputs(self, feature: Tensor) -> Tensor:
        return super().outputs(feature) + 0.1 * feature[:, [3]].mean((2, 3)) * feature[:, [7]].mean((2, 3))


class Unlearning(Pooled):
    """Without gradients."""

    def outputs(self, feature: Tensor) -> Tensor:
        return super().outputs(feature.detach())


def maps(channels: int = CHANNELS) -> Tensor:
    return torch.randn(N, channels, 3, 3, generator=torch.Generator().manual_seed(0))


def one_by_one(network: Performer, x: Tensor) -> Tensor:
    """What scores lose without each channel, each set to 0 by hand."""
    columns = []
    for channel in range(x.shape[1]):
        without = x.clone()
        without[:, channel] = 0
        columns.append(network.head(x)[0] - network.head(without)[0])
    return torch.stack(columns, 1)


def test_slopes_are_the_effects_where_concepts_add_up():
    network, x = Pooled(), maps()
    facts, each = moved(network, x, range(CHANNELS), IDS, most=FEW), moved(network, x, range(CHANNELS), IDS)
    torch.testing.assert_close(facts.effects, one_by_one(network, x), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(facts.redrawn, each.redrawn, rtol=1e-4, atol=1e-6)
    assert facts.means == each.means == MEANS
    assert facts.drawn is None
    assert facts.known == network.concept_names


def test_outputs_of_a_linear_head_add_up():
    network, x = Outputs(), maps(1)
    facts, each = moved(network, x, range(4), IDS, most=2), moved(network, x, range(4), IDS)
    assert facts.drawn is None
    torch.testing.assert_close(facts.effects, each.effects, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [Bent, Unlearning])
def test_of_concepts_that_do_not_add_up_some_are_drawn(kind):
    network, x = kind(), maps()
    facts = moved(network, x, range(CHANNELS), IDS, most=FEW)
    assert facts.drawn == facts.known
    assert len(facts.known) == FEW
    assert facts.means == "taking 5 of 12 concepts away at the feature x, not in the image, drawn at random"
    columns = [network.concept_names.index(name) for name in facts.known]
    torch.testing.assert_close(facts.effects[:, columns], one_by_one(network, x)[:, columns], rtol=1e-4, atol=1e-6)
    others = [i for i in range(CHANNELS) if i not in columns]
    assert facts.effects[:, others].isnan().all()
    assert moved(network, x, range(CHANNELS), IDS, most=FEW).drawn == facts.drawn


def test_no_concept_is_drawn_where_there_are_few():
    facts = moved(Bent(), maps(), range(CHANNELS), IDS)
    assert CHANNELS <= MOST
    assert facts.drawn is None
    assert len(facts.known) == CHANNELS


def test_an_interaction_of_two_among_many_is_noticed():
    slopes = torch.randn(4, 300, generator=torch.Generator().manual_seed(1))

    def game(present: Tensor) -> Tensor:
        return (present * slopes).sum(-1) + 0.1 * present[..., 17] * present[..., 99]

    assert additive_effects(game, torch.ones(4, 300)) is None
    assert additive_effects(lambda present: (present * slopes).sum(-1), torch.ones(4, 300)).allclose(slopes)


def test_what_chance_has_not_drawn_is_no_part_that_is_not_judged():
    network, x = Bent(), maps()
    facts = moved(network, x, range(CHANNELS), IDS, most=FEW)
    truth = one_by_one(network, x)
    base = float((facts.score - truth.sum(1)).mean())
    words = str(judged(explained(facts, truth, base), facts))
    assert "carry" not in words
    assert (
        "rests on taking 5 of 12 concepts away at the feature x, not in the image, drawn at random, 40 images" in words
    )
    hidden = truth.clone()
    hidden[:, facts.effects.isfinite().all(0)] *= 1e-3  # of what can be told nothing is right
    assert judged(explained(facts, hidden, base), facts).word == "NOT FAITHFUL"
