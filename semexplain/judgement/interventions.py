"""What becomes of scores when single concepts are taken away: the facts that explanations are judged by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from semexplain.system.trouble import Trouble


@dataclass(frozen=True, eq=False)
class Interventions:
    r"""What ``N`` images' scores lose without each of ``n`` concepts, on a network and on redrawn ones.

    .. math:: \Delta_{I,i} = \hat y(I) - \hat y(I \text{ without concept } i)

    Attributes:
        means: How concepts were taken away, in words, such as "drawing the image again without a concept".
        ids: Names of the images.
        names: Names of the concepts.
        score: ``(N,)``. Scores ŷ of the whole images.
        effects: ``(N, n)``. Δ; nan where a concept could not be taken away.
        redrawn: ``(R, N, n)``. Δ of the same network with the layers above its feature map drawn anew, ``R`` times.
        strengths: ``(N, n)``. How strong each concept is, never centred; nan where that is not known.
        ends: ``(2, N, n)``, if the effects are the mean of two: what is lost without a concept that all others are
            beside, and what is gained by one that is alone. Between them lie all exact shares; how far they agree
            says what can be asked.
        drawn: Names of the concepts that were drawn to be taken away, if there were too many; else none.

    Raises:
        ValueError: If shapes or numbers of names do not fit each other.

    Example:
        >>> Interventions(
        ...     means="taking a concept away at x",
        ...     ids=("a.jpg",),
        ...     names=("Smiling", "Goatee"),
        ...     score=torch.tensor([3.0]),
        ...     effects=torch.tensor([[2.0, torch.nan]]),
        ...     redrawn=torch.zeros(3, 1, 2),
        ...     strengths=torch.tensor([[1.0, -4.0]]),
        ... ).known
        ('Smiling',)
    """

    means: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    score: Tensor
    effects: Tensor
    redrawn: Tensor
    strengths: Tensor
    ends: Tensor | None = None
    drawn: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        size, n = len(self.ids), len(self.names)
        shapes = {"score": (size,), "effects": (size, n), "strengths": (size, n)}
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {found}.")
        if self.redrawn.ndim != 3 or tuple(self.redrawn.shape[1:]) != (size, n):
            raise ValueError(f"redrawn must have the shape (R, {size}, {n}), got {tuple(self.redrawn.shape)}.")

    @property
    def known(self) -> tuple[str, ...]:
        """Concepts that could be taken away from every image."""
        columns = self.effects.isfinite().all(0).tolist()
        return tuple(name for name, known in zip(self.names, columns, strict=True) if known)

    def aligned(self, ids: Sequence[str], names: Sequence[str]) -> "Interventions":
        """The same for someone else's images and concepts, in their order; nan for concepts that are not here.

        Raises:
            Trouble: If an image is not here.
        """
        rows = {name: row for row, name in enumerate(self.ids)}
        if absent := [name for name in ids if name not in rows]:
            raise Trouble(
                f"Nothing is known of what becomes of {absent[0]} without its concepts ({len(absent)} of {len(ids)} "
                "images). Give the interventions of the explained images."
            )
        order = torch.tensor([rows[name] for name in ids], dtype=torch.long)
        columns = [self.names.index(name) if name in self.names else len(self.names) for name in names]

        def chosen(table: Tensor) -> Tensor:
            unknown = table.new_full((*table.shape[:-1], 1), torch.nan)
            return torch.cat([table, unknown], -1)[..., order, :][..., columns]

        return replace(
            self,
            ids=tuple(ids),
            names=tuple(names),
            score=self.score[order],
            effects=chosen(self.effects),
            redrawn=chosen(self.redrawn),
            strengths=chosen(self.strengths),
            ends=None if self.ends is None else chosen(self.ends),
        )
