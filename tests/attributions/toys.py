"""Performers small enough to know what every rival must say of them."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations

import torch
from torch import Tensor, nn

from semexplain.attributions.question import Question
from semexplain.concepts import filters, outputs
from semexplain.performers.base import Performer

SIDE = 3
SLOPES = torch.tensor([2.0, -1.0, 0.5, 3.0])


class Toy(Performer):
    """Maps are what goes in; the rest is a head."""

    target_name = "score"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.image_shape = self.map_shape = (channels, SIDE, SIDE)

    def encode(self, image: Tensor) -> Tensor:
        return image


class Filters(Toy):
    """Concepts are the maps; the head is two layers, or a sum of the maps with ``SLOPES`` and a constant."""

    kind, output_names = filters.Filters(), ("score",)

    def __init__(self, n: int = 4, *, linear: bool = False, bias: bool = True) -> None:
        super().__init__(n)
        torch.manual_seed(7)
        self.linear = linear
        self.first, self.second = nn.Linear(n * SIDE**2, 16, bias=bias), nn.Linear(16, 1, bias=bias)
        self.freeze()

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        if self.linear:
            return (feature.sum((2, 3)) @ SLOPES.to(feature) + 5)[:, None]
        return self.second(self.first(feature.flatten(1)).relu())


class Outputs(Toy):
    """Concepts are four coordinates of x, of which the score is a linear function, or a bent one."""

    kind, output_names = outputs.Outputs(), ("score", *(f"concept {i}" for i in range(4)))

    def __init__(self, *, linear: bool = True) -> None:
        super().__init__(1)
        self.linear = linear
        self.freeze()

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map.flatten(1)

    def outputs(self, feature: Tensor) -> Tensor:
        score = feature[:, :4] @ SLOPES.to(feature) + 5
        if not self.linear:
            score = score + feature[:, 0] * feature[:, 1] + feature[:, 2].relu() * feature[:, 3]
        return torch.cat([score[:, None], feature[:, :4]], dim=1)


def maps(performer: Performer, size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, *performer.map_shape, generator=generator) + 0.3


def ask(
    performer: Performer, feature_map: Tensor, columns: Sequence[int] | None = None, prior: Callable | None = None
) -> Question:
    """A question; the reference is the mean of the images of ``train``."""
    chosen = list(range(len(performer.concept_names)) if columns is None else columns)
    performance, _ = performer.perform(feature_map, None, chosen)
    reference = performer.perform(maps(performer, 400, seed=9), None, chosen)[0].concepts.mean(0)
    return Question(
        performer,
        performance,
        chosen,
        reference,
        performer.kind,
        partial(performer.game, feature_map, chosen, reference),
        lambda: performer.perform(feature_map, prior)[1][:, chosen],
    )


def train(performer: Performer) -> list[Question]:
    return [ask(performer, part) for part in maps(performer, 400, seed=9).split(64)]


def shapley(value: Callable[[Tensor], float], n: int) -> list[float]:
    """The definition: what each adds to those before it, averaged over all orders."""
    orders = list(permutations(range(n)))
    total = [0.0] * n
    for order in orders:
        present = torch.zeros(n)
        for i in order:
            before = value(present)
            present[i] = 1
            total[i] += value(present) - before
    return [part / len(orders) for part in total]


def exact_shapley(question: Question) -> Tensor:
    """``(B, n)``, image by image."""
    batch, n = question.performance.concepts.shape

    def value(image: int, present: Tensor) -> float:
        return float(question.game(present.expand(batch, n))[image])

    return torch.tensor([shapley(partial(value, image), n) for image in range(batch)])
