"""A data set as a LightningDataModule: its splits, loaders and fingerprint."""

import copy
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
from annotated_types import Ge
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import Dataset

from semexplain.data.arrays import MIRRORED, ArrayDataset, RowArray, plain_names, whole_batch
from semexplain.data.contents import picture_digest
from semexplain.data.framing import Framing, ImageSize
from semexplain.data.images import SPLITS, ImageDataset, Split
from semexplain.data.loading import EpochSampler, ResumableLoader, UnpaddedSampler
from semexplain.system.config import ConfigError, instantiate
from semexplain.system.seed import Seed


class ViewDataset(Dataset[Tensor]):
    """Single views of a data module's images, ``(C, H, W)``.

    Args:
        datamodule: Where the images are from.
        views: Split, position in it, and whether to mirror it.
    """

    def __init__(self, datamodule: "ImageDataModule", views: Sequence[tuple[str, int, bool]]) -> None:
        self.splits = datamodule.splits
        self.framing = datamodule.framing
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, index: int) -> Tensor:
        split, at, flipped = self.views[index]
        image = self.splits[split].read(at, self.framing)
        return image.flip(2) if flipped else image


class ImageDataModule(pl.LightningDataModule, ABC):
    """Splits of labelled images as batches ``{"image", "label", "index", "object_id"}``.

    ``image``: ``(B, C, H, W)``; ``label``: bool ``(B, K)``; ``index``: int64 ``(B,)``, position within the
    split; ``object_id``: int64 ``(B,)``, equal for images of the same object. A data set is a subclass with a ``read``
    method that returns its splits and, where they are not known before, sets ``names``.

    Args:
        batch_size: Images per batch and process.
        image_size: Side of the square RGB images, or channels, height and width, as the performer takes them; a run
            completes null.
        framing: How pictures are brought to that size, where they are not stretched bilinearly to uint8: ``shorter``,
            ``interpolation``, ``dtype`` and ``top`` of a :class:`~semexplain.data.framing.Framing`; a run completes
            null.
        num_workers: Worker processes per loader; 0 reads in the main process.
        seed: Seed of order and flips in training.
        flip: Mirror training images at random.
        limit: Use at most this many images of each split: the first, or of pictures some that are drawn.
        cache: Where a frozen performer's answers are kept so that they are computed once: ``auto`` (in the common
            folder, if they fit), a folder, or ``off`` (computed in every step).
        cache_gb: Most that ``auto`` may keep, in GB; it never takes more than half of what is free on the disk.
        cache_dtype: In which the feature maps are kept. Scores, concepts and priors are kept in float32.

    Attributes:
        names: The ``K`` attributes, in the order of the label columns; none where nothing is known of the images.
        varies: Whether reading an image twice may give two results other than its mirror image, so that nothing
            computed from it can be kept. A subclass that augments sets it.
        splits: ``train``, ``val`` and ``test``, filled by ``setup``.
        flip_train: Whether training images are mirrored at random.
        test_images: Measure on this many images, spread evenly over the test split; all by default.
    """

    names: tuple[str, ...]
    varies = False

    def __init__(
        self,
        *,
        batch_size: Annotated[int, Ge(2)] = 64,
        image_size: int | list[int] | None = 224,
        framing: dict[str, Any] | None = None,
        num_workers: Annotated[int, Ge(0)] = 2,
        seed: Seed = 0,
        flip: bool = False,
        limit: Annotated[int, Ge(2)] | None = None,
        cache: str = "auto",
        cache_gb: Annotated[float, Ge(0)] = 50.0,
        cache_dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        super().__init__()
        size: ImageSize = image_size if isinstance(image_size, int) else tuple(image_size or ())
        if size == () or min(Framing.of(size).shape[1:]) < 8:
            raise ValueError(f"`image_size` must be at least 8 pixels, got {image_size}.")
        self.framing = Framing.of(size, framing)
        self.limit = limit
        self.cache = cache
        self.cache_gb = cache_gb
        self.cache_dtype = cache_dtype
        self.batch_size = batch_size
        self.image_size = size
        self.num_workers = num_workers
        self.seed = seed
        self.flip_train = flip
        self.test_images: int | None = None
        self.splits: dict[str, Split] = {}
        self._arrays: dict[str, dict[str, RowArray | Tensor]] = {}
        self._digests: dict[str, list[str]] = {}
        self._fingerprint: str | None = None

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """Find images and labels of ``train``, ``val`` and ``test``; called once."""

    def setup(self, stage: str | None = None) -> None:
        """Read the splits; calling it again changes nothing.

        Raises:
            ValueError: If a split is missing or empty, or ids, files and labels do not match.
        """
        if self.splits:
            return
        splits = self.read()
        _check(splits, self.names)
        self.splits = {name: split.first(self.limit) for name, split in splits.items()}

    def attach(self, arrays: dict[str, dict[str, RowArray | Tensor]]) -> None:
        """Yield these arrays instead of images from now on, together with those attached before.

        Args:
            arrays: For each split to replace, the arrays by name, with a row per image. A name attached again
                stands for the new array.

        Raises:
            ValueError: For an unknown split, or if training images are flipped and an array has no mirrored twin.
        """
        unknown = sorted(set(arrays) - set(SPLITS))
        if unknown:
            raise ValueError(f"Arrays can be attached to the splits {', '.join(SPLITS)}, got {', '.join(unknown)}.")
        singles = [name for name in plain_names(arrays.get("train", {})) if f"{name}{MIRRORED}" not in arrays["train"]]
        if self.flip_train and singles:
            raise ValueError(
                f"With `flip=True` a training array needs a second one of the mirrored images: {singles[0]}{MIRRORED} "
                "is missing. Compute it, or set `flip=False`."
            )
        for split, columns in arrays.items():
            self._arrays[split] = self._arrays.get(split, {}) | columns

    def unattached(self) -> "ImageDataModule":
        """The same data, without the arrays that have been attached: for another run, which attaches its own."""
        other = copy.copy(self)
        other._arrays = {}
        return other

    def arrays(self, split: str) -> Mapping[str, RowArray | Tensor]:
        """What has been attached to a split, by name."""
        return self._arrays.get(split, {})

    def fingerprint(self) -> str:
        """SHA-256 of what decides the batches: names, ids, file sizes, boxes, labels of each split, and the framing.

        It stays the same when the data are moved or copied, so that results computed from them can be found again.
        The content of the files enters by its size only, that of images in memory by all of it.
        """
        if self._fingerprint is None:
            framing = [self.framing.options] if self.framing.options else []
            digest = hashlib.sha256(json.dumps([self.names, self.image_size, *framing]).encode())
            for name in SPLITS:
                split = self._split(name)
                contents: list[Any] = self.digests(name) or [os.path.getsize(path) for path in split.paths]
                digest.update(json.dumps([name, split.ids, contents]).encode())
                digest.update(np.packbits(split.labels).tobytes())
                for field in ("boxes", "mirrored", "repeats"):
                    value = getattr(split, field)
                    if value is not None:
                        digest.update(json.dumps([field, value.tolist()]).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def digests(self, split: str) -> list[str] | None:
        """SHA-256 of every image of a split that is in memory; None where they are in files."""
        pictures = self._split(split).pictures
        if pictures is not None and split not in self._digests:
            self._digests[split] = [picture_digest(held() if callable(held) else held) for held in pictures]
        return self._digests.get(split)

    def column(self, name: str) -> int | None:
        """Which column of the labels an attribute has; None if nothing is known of it."""
        return self.names.index(name) if name in self.names else None

    def dataset(self, split: str, flip: bool = False, only: Sequence[str] | None = None) -> ImageDataset | ArrayDataset:
        """The attached arrays of a split, all or ``only`` some, or else its images.

        Raises:
            RuntimeError: Before ``setup``.
            ValueError: For an unknown split.
        """
        data = self._split(split)
        if split in self._arrays:
            arrays = {name: array for name, array in self._arrays[split].items() if only is None or name in only}
            return ArrayDataset(arrays, data.labels, groups=data.groups, flip=flip, seed=self.seed)
        return ImageDataset(data, self.framing, flip=flip, seed=self.seed)

    def loader(
        self,
        split: str,
        *,
        shuffle: bool,
        flip: bool = False,
        only: Sequence[str] | None = None,
        images: int | None = None,
        positions: Sequence[int] | np.ndarray | None = None,
    ) -> ResumableLoader:
        """Batches of a split, each image as often as it counts: in a new order every epoch for training, or in order.

        Args:
            split: Its name.
            shuffle: Whether to train on it.
            flip: Mirror images at random.
            only: The arrays to read where arrays stand for the images; all by default.
            images: This many of a pass, spread evenly over it; all by default.
            positions: These images in place of a pass, all of them in every process.
        """
        dataset = self.dataset(split, flip, only)
        arrays = isinstance(dataset, ArrayDataset)
        resident = isinstance(dataset, ArrayDataset) and dataset.resident
        samples = evenly(self._split(split).order(), images)
        in_order = UnpaddedSampler(samples) if positions is None else UnpaddedSampler(positions, rank=0, world=1)
        return ResumableLoader(
            dataset,
            EpochSampler(samples, seed=self.seed) if shuffle else in_order,
            self.batch_size,
            drop_last=shuffle,
            num_workers=0 if arrays else self.num_workers,
            collate_fn=whole_batch if arrays else None,
            ahead=arrays and not resident,
            pin_memory=False if resident else None,
        )

    def ordered(self, split: str, only: Sequence[str] | None = None, images: int | None = None) -> ResumableLoader:
        """The split exactly once over all processes, in order and never flipped.

        Args:
            split: Its name.
            only: The arrays to read where arrays stand for the images; all by default.
            images: This many, spread evenly over the split; all by default.
        """
        return self.loader(split, shuffle=False, only=only, images=images)

    def chosen(self, split: str, positions: Sequence[int] | np.ndarray) -> ResumableLoader:
        """Images at these positions of a split, all of them in every process, in this order and never flipped."""
        return self.loader(split, shuffle=False, positions=positions)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training images."""
        return self.loader("train", shuffle=True, flip=self.flip_train)

    def val_dataloader(self) -> ResumableLoader:
        """Validation images in order."""
        return self.ordered("val")

    def test_dataloader(self) -> list[ResumableLoader]:
        """Training images for what is fitted before testing (thresholds, a linear map), then the test images."""
        return [self.ordered("train"), self.ordered("test", images=self.test_images)]

    def _split(self, name: str) -> Split:
        if not self.splits:
            raise RuntimeError(f"{type(self).__name__} has no data yet; call `setup()` first.")
        if name not in self.splits:
            raise ValueError(f"`split` must be one of {', '.join(self.splits)}, got {name!r}.")
        return self.splits[name]


def ready_data(config: DictConfig, **changes: Any) -> ImageDataModule:
    """Build a data module, let it fetch or draw what is missing, and read its splits.

    Args:
        config: The node ``data`` of a configuration.
        **changes: Parameters to use in place of the configuration's.

    Raises:
        ConfigError: If the data are not as they should be; the message says what is missing and how to get it.
    """
    datamodule = instantiate(config, **changes)
    try:
        datamodule.prepare_data()
        datamodule.setup()
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"data: {error}") from error
    return datamodule


def evenly(positions: np.ndarray, count: int | None) -> np.ndarray:
    """Some of the positions, from the first to the last at equal distances; all of them if there are no more.

    Example:
        >>> evenly(np.arange(10), 4)
        array([0, 3, 6, 9])
    """
    if count is None or count >= len(positions):
        return positions
    return positions[np.linspace(0, len(positions) - 1, count).round().astype(int)]


def _check(splits: Mapping[str, Split], names: Sequence[str]) -> None:
    if sorted(splits) != sorted(SPLITS):
        raise ValueError(f"`read` must return the splits {', '.join(SPLITS)}, got {', '.join(splits) or 'none'}.")
    for name, split in splits.items():
        ids, labels = split.ids, split.labels
        if not ids:
            raise ValueError(f"The split {name!r} has no images.")
        if len(split.sources) != len(ids):
            raise ValueError(f"The split {name!r} has {len(ids)} ids but {len(split.sources)} files.")
        if labels.dtype != np.bool_ or labels.shape != (len(ids), len(names)):
            raise ValueError(
                f"The labels of split {name!r} must be bool of shape {(len(ids), len(names))}, "
                f"got {labels.dtype} of shape {labels.shape}."
            )
