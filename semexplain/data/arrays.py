"""Rows of arrays in place of images: what a frozen performer has said of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from semexplain.data.images import mirrored

MIRRORED = "_mirrored"  # suffix of an array computed from mirrored images


class RowArray(Protocol):
    """What a data set needs of an array: its length, and the rows at some positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: np.ndarray) -> np.ndarray: ...


class ArrayDataset(Dataset[dict[str, Tensor]]):
    """Precomputed arrays in place of images, read a batch at a time.

    With ``flip`` the arrays come in pairs, ``name`` and ``name_mirrored``, and a row is taken from the second wherever
    :class:`ImageDataset` would mirror the image.

    Args:
        arrays: One array per key of the batch, each with a row per image: memory-mapped, in memory, or a tensor.
        labels: bool ``(N, K)``.
        groups: int ``(N,)``, equal for images of one object; by default all differ.
        flip: Choose between the two views of an image at random.
        seed: Seed of the choice.

    Raises:
        ValueError: If a name is taken by the label or the index, an array has not a row for every image, or has no
            mirrored twin where there should be one.

    Example:
        >>> dataset = ArrayDataset({"score": np.array([0.0, 0.1, 0.2])}, labels=np.eye(3, dtype=bool))
        >>> batch = dataset.__getitems__([2, 0])
        >>> batch["score"], batch["index"]
        (tensor([0.2000, 0.0000], dtype=torch.float64), tensor([2, 0]))
    """

    def __init__(
        self,
        arrays: Mapping[str, RowArray | Tensor],
        labels: np.ndarray,
        *,
        groups: np.ndarray | None = None,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        for name, array in arrays.items():
            if name in ("label", "index", "object_id"):
                raise ValueError(f"The name {name!r} is taken by the data set itself; rename the array.")
            if len(array) != len(labels):
                raise ValueError(
                    f"Array {name!r} must have a row for each of the {len(labels)} images, has {len(array)}."
                )
        self.mirrored = {name: arrays[f"{name}{MIRRORED}"] for name in plain_names(arrays)} if flip else {}
        self.arrays = {name: arrays[name] for name in plain_names(arrays)}
        self.labels = labels
        self.groups = np.arange(len(labels)) if groups is None else groups
        self.seed = seed
        self._epoch = 0

    @property
    def resident(self) -> bool:
        """Whether an array lies on an accelerator, so that batches are gathered there."""
        return any(isinstance(array, Tensor) and array.is_cuda for array in self.arrays.values())

    def set_epoch(self, epoch: int) -> None:
        """Choose the views; :class:`ResumableLoader` calls this before every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The row of every array, with ``label``, ``index`` and ``object_id``."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A whole batch; its collate function is :func:`whole_batch`."""
        rows = np.asarray(indices, dtype=np.int64)
        if self.mirrored:
            flips = np.array([mirrored(self.seed, self._epoch, int(index)) for index in rows])
            back = torch.from_numpy(np.argsort(np.argsort(flips, kind="stable")))
            pairs = ((name, array, self.mirrored[name]) for name, array in self.arrays.items())
            batch = {
                name: torch.cat([_rows(array, rows[~flips]), _rows(twin, rows[flips])])[back]
                for name, array, twin in pairs
            }
        else:
            batch = {name: _rows(array, rows) for name, array in self.arrays.items()}
        facts = {"label": self.labels[rows], "index": rows, "object_id": self.groups[rows].astype(np.int64)}
        return {**batch, **{name: torch.from_numpy(value) for name, value in facts.items()}}


def whole_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collate function for data sets whose ``__getitems__`` returns a batch."""
    return batch


def plain_names(arrays: Mapping[str, object]) -> list[str]:
    """Names of the arrays that are not of mirrored images."""
    return [name for name in arrays if not name.endswith(MIRRORED)]


def _rows(array: RowArray | Tensor, indices: np.ndarray) -> Tensor:
    if isinstance(array, Tensor):
        return array[torch.from_numpy(indices)]
    return torch.from_numpy(np.asarray(array[indices]))
