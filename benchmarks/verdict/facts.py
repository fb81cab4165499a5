"""What is true of a performer: what its scores lose without each concept, and exact shares of them."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions
from semexplain.system.files import whole_file

REST = "everything else"


class Facts(NamedTuple):
    """What is known of a score in one regime; every table of contributions has a last column for everything else.

    Attributes:
        interventions: Of the ``N`` explained images.
        target: What the score stands for.
        base: The base value that truths are measured from.
        truths: By name, explanations that are exact; the first is what liars distort.
        labels: bool ``(N,)``. Whether the network says yes, as far as the images tell.
        redrawn: ``(N, n + 1)``. True contributions of a network whose head was drawn anew.
        others: By what they are to the score, true contributions ``(N, n + 1)`` to other scores of the same network.
        memory: ``(M, n)``. Strengths of other images.
        remembered: ``(M, n + 1)``. Their truth.
    """

    interventions: Interventions
    target: str
    base: float
    truths: dict[str, Explanation]
    labels: Tensor
    redrawn: Tensor
    others: dict[str, Tensor]
    memory: Tensor
    remembered: Tensor


def with_rest(contributions: Tensor, total: Tensor) -> Tensor:
    """Contributions ``(N, n)`` and a last column that makes them add up to ``total`` ``(N,)``.

    Example:
        >>> with_rest(torch.tensor([[1.0, 2.0]]), torch.tensor([5.0]))
        tensor([[1., 2., 2.]])
    """
    return torch.cat([contributions, (total - contributions.sum(1))[:, None]], 1)


def unknown_rest(table: Tensor) -> Tensor:
    """A table ``(..., n)`` with a last column of nan."""
    return torch.cat([table, torch.full_like(table[..., :1], torch.nan)], -1)


def explained(
    interventions: Interventions, contributions: Tensor, base: float, target: str, values: Tensor | None = None
) -> Explanation:
    """An explanation with these contributions ``(N, n)``, to the digit.

    Args:
        interventions: Of the same images and concepts.
        contributions: What each concept adds.
        base: What belongs to no concept.
        target: What the score stands for.
        values: ``(N, n)``. Strengths to write beside; those of the interventions by default. Where one is unknown or 0
            it is written as 1, so that a weight can carry the contribution.
    """
    values = interventions.strengths if values is None else values
    values = torch.where(values.isfinite() & (values != 0), values, 1.0)
    return Explanation(
        score=interventions.score,
        values=values,
        weights=contributions / values,
        base_value=torch.tensor(base, dtype=torch.float64),
        concepts=interventions.names,
        target=target,
        ids=interventions.ids,
    )


def save_facts(facts: dict[str, Facts], path: Path) -> None:
    """Write what is known by regime: tensors and plain values."""
    plain = {}
    for regime, one in facts.items():
        fields = one._asdict()
        fields["interventions"] = vars(one.interventions)
        fields["truths"] = {
            name: {"values": truth.values, "weights": truth.weights, "base_value": truth.base_value}
            for name, truth in one.truths.items()
        }
        plain[regime] = fields
    with whole_file(path) as partial:
        torch.save(plain, partial)


def load_facts(path: Path) -> dict[str, Facts]:
    """Read what :func:`save_facts` wrote."""
    facts = {}
    for regime, fields in torch.load(path, weights_only=True).items():
        interventions = Interventions(**fields["interventions"])
        told: dict[str, Any] = {"score": interventions.score, "concepts": interventions.names, "ids": interventions.ids}
        truths = {
            name: Explanation(**truth, **told, target=fields["target"]) for name, truth in fields["truths"].items()
        }
        facts[regime] = Facts(**{**fields, "interventions": interventions, "truths": truths})
    return facts
