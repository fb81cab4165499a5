"""The two records all parts speak: what the performer computed, and how it is explained (Eq. (1))."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from semexplain.explanation.table import as_fields, as_table, read_noted, require_sums, require_whole
from semexplain.system.files import whole_file
from semexplain.system.trouble import DamagedFileError

if TYPE_CHECKING:
    import pandas as pd


class Performance(NamedTuple):
    """What a performer computed for a batch of images, before any explanation.

    Attributes:
        score: ``(B,)``. The target's score before a sigmoid or softmax.
        concepts: ``(B, n)``. How strongly each concept is present.
        feature: ``(B, ...)``. The tensor x at which priors are taken. For priors it is a leaf that requires a gradient,
            and both ``score`` and ``concepts`` depend on it.
        feature_map: ``(B, C, H, W)``. The top convolutional map, input of the explainer.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> performance = Performance(score=x.sum(1), concepts=3 * x, feature=x, feature_map=x[:, :, None, None])
        >>> performance.concepts.detach()
        tensor([[3., 6.]])
    """

    score: Tensor
    concepts: Tensor
    feature: Tensor
    feature_map: Tensor


@dataclass(frozen=True, eq=False)
class Explanation:
    r"""The scores of a batch of images, each split into one contribution per concept.

    .. math:: \hat y = \sum_i \alpha_i y_i + b + r \qquad \text{(Eq. (1), and the residual } r \text{ it leaves)}

    The base value b belongs to no concept: it moves the prediction and never a contribution. What concepts do not
    explain, the residual, is part of every frame, text and picture.

    Attributes:
        score: ``(B,)``. The performer's score ŷ, before a sigmoid or softmax.
        values: ``(B, n)``. What α multiplies: the strength y of each concept, or how far that is above its mean.
        weights: ``(B, n)``. Weight α that the explainer gives each concept of this image.
        base_value: ``()``. One number b for all images.
        concepts: Names of the ``n`` concepts.
        target: What the score stands for.
        ids: Names of the images; their numbers by default.
        label: bool ``(B,)``. Whether an image really shows the target, where that is known.
        parts: Names of ``P`` object parts, where filters stand for parts.
        part_contributions: ``(B, P)``. Sum of the contributions of each part's filters.
        image: uint8 ``(B, 3, H, W)``. The images as the performer sees them, RGB.
        heat: ``(B, H, W)``. Grad-CAM of the score, not negative.
        concept_parts: The part that each concept stands for, where filters have been named; "" for none.
        strengths: ``(B, n)``. Strength y of each concept where ``values`` are measured from a mean; None: they are y.

    Raises:
        ValueError: If shapes or numbers of names do not fit each other.

    Example:
        >>> explanation = Explanation(
        ...     score=torch.tensor([6.0]),
        ...     values=torch.tensor([[1.0, -2.0]]),
        ...     weights=torch.tensor([[3.0, 0.5]]),
        ...     base_value=torch.tensor(1.0),
        ...     concepts=("Smiling", "Goatee"),
        ...     target="Attractive",
        ... )
        >>> explanation.contributions, explanation.prediction, explanation.residual
        (tensor([[ 3., -1.]]), tensor([3.]), tensor([3.]))
        >>> explanation.reasons()
        [['smiling +3.00']]
    """

    score: Tensor
    values: Tensor
    weights: Tensor
    base_value: Tensor
    concepts: tuple[str, ...]
    target: str = "score"
    ids: tuple[str, ...] = ()
    label: Tensor | None = None
    parts: tuple[str, ...] = ()
    part_contributions: Tensor | None = None
    image: Tensor | None = None
    heat: Tensor | None = None
    strengths: Tensor | None = None
    concept_parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        size, n = len(self.score), len(self.concepts)
        if not self.ids:
            object.__setattr__(self, "ids", tuple(str(number) for number in range(size)))
        object.__setattr__(self, "ids", tuple(map(printable, self.ids)))
        expected = {"score": (size,), "values": (size, n), "weights": (size, n), "base_value": (), "label": (size,)}
        expected |= {"part_contributions": (size, len(self.parts)), "strengths": (size, n)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {tuple(value.shape)}.")
        if len(self.ids) != size:
            raise ValueError(f"ids must name each of the {size} images, got {len(self.ids)}.")
        if self.concept_parts and len(self.concept_parts) != n:
            raise ValueError(f"concept_parts must name a part for each of the {n} concepts.")
        for name in ("image", "heat"):
            value = getattr(self, name)
            if value is not None and len(value) != size:
                raise ValueError(f"{name} must have a row for each of the {size} images, got {len(value)}.")

    # -- Eq. (1) -----------------------------------------------------------------------------------------------------

    @property
    def contributions(self) -> Tensor:
        """What each concept adds to the score, alpha times its value, ``(B, n)``."""
        return self.weights * self.values

    @property
    def prediction(self) -> Tensor:
        """The score as the explainer sees it: all contributions and the base value, ``(B,)``."""
        return self.contributions.sum(1) + self.base_value

    @property
    def residual(self) -> Tensor:
        """The part of the score that is left unexplained, score minus prediction, ``(B,)``."""
        return self.score - self.prediction

    # -- a batch of images -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> Explanation:
        """The explanation of one image, still as a batch, or of several."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        tensors: dict[str, Any] = {name: value[torch.from_numpy(rows)] for name, value in self._per_image().items()}
        return replace(self, **tensors, ids=tuple(self.ids[row] for row in rows))

    def __iter__(self) -> Iterator[Explanation]:
        return (self[row] for row in range(len(self)))

    def cpu(self) -> Explanation:
        """The same without graph and in the computer's own memory."""
        tensors: dict[str, Any] = {name: value.detach().cpu() for name, value in self._per_image().items()}
        return replace(self, **tensors, base_value=self.base_value.detach().cpu())

    @staticmethod
    def join(explanations: Sequence[Explanation]) -> Explanation:
        """One batch of several of the same explainer.

        Raises:
            ValueError: If there are none, or they differ in concepts, parts, target, base value or centring.
        """
        if not explanations:
            raise ValueError("There are no explanations to join.")
        first = explanations[0]
        for other in explanations[1:]:
            same = (first.concepts, first.parts, first.target) == (other.concepts, other.parts, other.target)
            same = same and (first.strengths is None) == (other.strengths is None)
            if not same or bool(first.base_value != other.base_value):
                raise ValueError(
                    "These explanations are of several explainers: concepts, target, base value or centring differ."
                )
        rows: dict[str, Any] = {
            name: torch.cat([getattr(e, name) for e in explanations]) for name in first._per_image()
        }
        return replace(first, **rows, ids=tuple(name for e in explanations for name in e.ids))

    # -- words -------------------------------------------------------------------------------------------------------

    @property
    def uncentred(self) -> Tensor:
        """Strength y of each concept ``(B, n)``, as the network says it: at least 0 where it finds the concept."""
        return self.values if self.strengths is None else self.strengths

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The ``k`` concepts (or parts, where filters stand for parts) that contribute most, of each image.

        Returns:
            For each image, pairs of name and contribution, the largest absolute contribution first.
        """
        names, table = self.shown
        order = table.abs().argsort(dim=1, descending=True, stable=True)[:, :k]
        return [
            [(names[column], float(row[column])) for column in columns]
            for row, columns in zip(table, order.tolist(), strict=True)
        ]

    def reasons(self, k: int = 3) -> list[list[str]]:
        """The ``k`` most important reasons for each image's score, in words (Fig. 6).

        Reasons speak for the decision, ``αᵢ yᵢ sign(ŷ) > 0``, the strongest first; there may be fewer than ``k``, or
        none where the base value decides. A concept that is absent, ``y`` below 0, is worded "no ...", whatever its
        mean is. Parts are named as they are: each gathers filters of both signs.
        """
        table = self.shown[1]
        decision = torch.where(self.score < 0, -1.0, 1.0).to(table)
        support = table * decision[:, None]
        order = support.argsort(dim=1, descending=True, stable=True)[:, :k]
        return [
            [f"{labels[i]} {float(table[row, i]):+.2f}" for i in columns if support[row, i] > 0]
            for row, columns in enumerate(order.tolist())
            for labels in [self.labels(row)]
        ]

    def labels(self, row: int) -> list[str]:
        """What is ``shown`` in words, for one image: a concept that is absent from it is "no ..."."""
        if self.parts:
            return [worded(name) for name in self.parts]
        return [self.in_words(row, i) for i in range(len(self.concepts))]

    def in_words(self, row: int, i: int) -> str:
        """Concept ``i`` in words, for one image."""
        return worded(self.concepts[i], bool(self.uncentred[row, i] >= 0))

    @property
    def shown(self) -> tuple[tuple[str, ...], Tensor]:
        """What a reader can grasp: names and contributions of the parts, if there are any, or of the concepts."""
        if self.part_contributions is not None:
            return self.parts, self.part_contributions
        return self.concepts, self.contributions

    # -- other forms -------------------------------------------------------------------------------------------------

    def to_frame(self) -> pd.DataFrame:
        """One row per image, all numbers float32.

        Columns: ``id``, ``label`` (if known), ``score`` ŷ, ``prediction`` Σ αᵢyᵢ + b, ``base_value`` b, ``residual``,
        then for every concept ``y/<name>``, ``alpha/<name>``, ``contribution/<name>``, for every part ``part/<name>``.
        y is never centred; what alpha multiplies is ``centred/<name>`` where strengths are measured from their means.
        """
        return as_table(self.cpu(), pictures=False).to_pandas()

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, target: str = "score") -> Explanation:
        """The explanation of which :meth:`to_frame` made a frame, or of some of its rows.

        It has no pictures, and does not know which part a concept stands for.

        Raises:
            Trouble: If its numbers do not add up, with the first row and column at fault.
        """
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            require_sums(table)
            return cls(**as_fields(table, {"target": target}))
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise DamagedFileError(f"The frame is not one of explanations: {error}.") from error

    def save(self, path: Path | str) -> None:
        """Write a parquet file, whole or not at all: the columns of :meth:`to_frame`, and the pictures as PNG."""
        with whole_file(Path(path)) as partial:
            pq.write_table(as_table(self.cpu(), pictures=True), partial)

    @classmethod
    def load(cls, path: Path | str) -> Explanation:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            Trouble: If it is not one of explanations, or not as it was written, with the first row and column at fault.
        """
        table, noted = read_noted(Path(path), "explanations")
        try:
            require_whole(table, noted)
            return cls(**as_fields(table, noted))
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedFileError(
                f"{path} cannot be read as explanations: {error}. Write it again, by `python evaluate.py run=...` or "
                "`semexplain explain`."
            ) from error

    def to_shap(self) -> Any:
        """A ``shap.Explanation`` with the same contributions, for shap's plots; needs the package shap."""
        try:
            import shap
        except ImportError as error:
            raise ImportError("to_shap needs the package shap: pip install shap") from error
        names, table = self.shown
        data = None if self.parts else self.uncentred.numpy()
        base = np.full(len(self), float(self.base_value))
        return shap.Explanation(table.numpy(), base_values=base, data=data, feature_names=list(names))

    def _per_image(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "base_value"}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def worded(name: str, present: bool = True) -> str:
    """A concept in words; an absent one is "no ...".

    Example:
        >>> worded("Wearing_Lipstick"), worded("Goatee", present=False), worded("No_Beard", present=False)
        ('wearing lipstick', 'no goatee', 'beard')
    """
    text = name.replace("_", " ").lower()
    if present:
        return text
    return text.removeprefix("no ") if text.startswith("no ") else f"no {text}"


def printable(name: str) -> str:
    r"""A name that can be written anywhere: bytes of a file name that are not UTF-8 are written ``\xff``.

    Example:
        >>> import os
        >>> print(printable(os.fsdecode(b"caf\xe9.jpg")), printable("café.jpg"))
        caf\xe9.jpg café.jpg
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which no file name has
        return name.encode("utf-8", "backslashreplace").decode("utf-8")
