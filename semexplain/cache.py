"""What a frozen performer says of every image, computed once and shared by all runs."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm.auto import tqdm

from semexplain.data.images import MIRRORED, SPLITS, ImageDataModule
from semexplain.explanation import Performance
from semexplain.performers.base import Performer, TrainablePerformer, state_digest


class PerformanceCache:
    """Feature maps, scores, concepts and priors of a data set, as raw arrays on disk.

    Valid when nothing random happens to an image before the explainer sees it, except mirroring: then both views are
    kept. Arrays are addressed by a digest of everything that determines them: the performer's weights and options, the
    data, the image size, the prior. They are written under a temporary name and renamed, under a lock that lets
    parallel jobs wait for the first. On opening, a few images are computed again and compared.

    Args:
        folder: Where the arrays are kept.
        datamodule: A data module after ``setup``.
        device: Where the performer computes.
    """

    def __init__(self, folder: Path, datamodule: ImageDataModule, device: torch.device) -> None:
        self.folder = folder
        self.datamodule = datamodule
        self.device = device

    def fits(self, performer: Performer, limit_gb: float) -> bool:
        """Whether the feature maps of all images take at most ``limit_gb`` GB."""
        images = sum(len(split.ids) for split in self.datamodule.splits.values())
        images += len(self.datamodule.splits["train"].ids) * self.datamodule.flip_train
        return images * performer.channels * performer.map_size**2 * 4 <= limit_gb * 1e9

    @torch.no_grad()
    def attach_trunk_maps(self, performer: TrainablePerformer) -> None:
        """Let the data module yield the trunk's output, ``trunk_map`` ``(B, C', H', W')``, instead of images."""
        training = performer.training
        performer = performer.to(self.device).eval()
        self._attach_maps("trunk_map", performer.trunk_modules(), performer.trunk_map)
        performer.train(training)  # a performer that is about to be trained must not stay without dropout

    @torch.no_grad()
    def attach_feature_maps(self, performer: Performer) -> None:
        """Let the data module yield ``feature_map`` ``(B, C, H, W)`` instead of images.

        Where the trunk's output was kept when the performer was trained, it is not computed again.
        """
        performer = performer.to(self.device).freeze()
        encode: Callable[[Tensor], Tensor] = performer.encode
        if isinstance(performer, TrainablePerformer) and self._has_maps(performer.trunk_modules()):
            self.attach_trunk_maps(performer)
            encode = performer.refine
        self._attach_maps("feature_map", performer.encode_modules(), encode, performer.encode_variant)
        self.datamodule.detach("trunk_map")

    def attach_performances(
        self, performer: Performer, prior: Callable[[Performance], Tensor], prior_splits: Sequence[str]
    ) -> None:
        """Let the data module yield ``score``, ``concepts`` and, for some splits, ``prior`` beside the feature maps.

        The prior is the same call as in a training step, for all concepts; a run that uses some takes their columns.
        """
        performer = performer.to(self.device).freeze()
        self.attach_feature_maps(performer)
        key = _key(performer.digest(), self.datamodule.fingerprint(), performer.variant)
        prior_key = _key(key, _name(prior))

        def compute(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            performance, _ = performer.perform(batch["feature_map"].to(self.device))
            return {"score": performance.score, "concepts": performance.concepts}

        def compute_prior(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            weights = performer.perform(batch["feature_map"].to(self.device), prior)[1]
            return {} if weights is None else {"prior": weights}

        for split in SPLITS:
            arrays = self._arrays(f"performances-{key}", split, ("score", "concepts"), compute)
            if split in prior_splits:
                arrays |= self._arrays(f"priors-{prior_key}", split, ("prior",), compute_prior)
            self.datamodule.attach({split: arrays})

    def _maps_folder(self, modules: Sequence[nn.Module], variant: str) -> str:
        return f"maps-{_key(state_digest(*modules), self.datamodule.fingerprint(), variant)}"

    def _has_maps(self, modules: Sequence[nn.Module]) -> bool:
        folder = self.folder / self._maps_folder(modules, "")
        return all((folder / f"{split}-map.npy").exists() for split in SPLITS)

    def _attach_maps(
        self, name: str, modules: Sequence[nn.Module], encode: Callable[[Tensor], Tensor], variant: str = ""
    ) -> None:
        """Let the data module yield what ``encode`` makes of an image, or of the trunk's output if that is attached."""

        def compute(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"map": encode(_seen(batch).to(self.device))}

        def compute_mirrored(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {f"map{MIRRORED}": encode(batch["image"].flip(3).to(self.device))}

        folder = self._maps_folder(modules, variant)
        for split in SPLITS:
            arrays = self._arrays(folder, split, ("map",), compute)
            if split == "train" and self.datamodule.flip_train:
                arrays |= self._arrays(folder, split, (f"map{MIRRORED}",), compute_mirrored)
            self.datamodule.attach({split: {key.replace("map", name): array for key, array in arrays.items()}})

    def _arrays(
        self,
        name: str,
        split: str,
        keys: Sequence[str],
        compute: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    ) -> dict[str, np.ndarray]:
        """Open the arrays of a split, after computing them if nobody has."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = {key: folder / f"{split}-{key}.npy" for key in keys}
        with FileLock(folder / f"{split}.lock"):
            found = all(path.exists() for path in paths.values())
            if not found:
                self._build(split, paths, compute)
        arrays = {key: np.load(path, mmap_mode="r") for key, path in paths.items()}
        if found:
            self._spot_check(split, arrays, compute, folder)
        return arrays

    def _build(
        self,
        split: str,
        paths: Mapping[str, Path],
        compute: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    ) -> None:
        size = len(self.datamodule.splits[split].ids)
        partial = {key: path.with_suffix(".partial") for key, path in paths.items()}
        arrays: dict[str, np.memmap] = {}
        description = f"{'+'.join(paths)} of the {split} split, once"
        with tqdm(total=size, desc=description, unit="image", mininterval=2) as progress:
            for batch in self.datamodule.distinct(split):
                for key, value in compute(batch).items():
                    if key not in arrays:
                        shape = (size, *value.shape[1:])
                        arrays[key] = np.lib.format.open_memmap(partial[key], "w+", np.float32, shape)
                    arrays[key][batch["index"].numpy()] = value.float().cpu().numpy()
                progress.update(len(batch["index"]))
        for key, array in arrays.items():
            array.flush()
            os.replace(partial[key], paths[key])

    def _spot_check(
        self,
        split: str,
        arrays: Mapping[str, np.ndarray],
        compute: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        folder: Path,
    ) -> None:
        """Compute eight images again: a stale or damaged array must not pass for the performer's word."""
        size = len(self.datamodule.splits[split].ids)
        chosen = np.unique(np.linspace(0, size - 1, 8).round().astype(int))
        batch = self.datamodule.batch(split, chosen.tolist())
        for key, value in compute(batch).items():
            stored, again = np.asarray(arrays[key][chosen]), value.float().cpu().numpy()
            if not np.allclose(stored, again, rtol=1e-3, atol=1e-3 * max(np.abs(again).max(), 1e-12)):
                raise ValueError(
                    f"The stored {key} in {folder} differ from what the performer says now. Delete that folder; it "
                    "will be computed again."
                )


def _seen(batch: Mapping[str, Tensor]) -> Tensor:
    return batch["trunk_map"] if "trunk_map" in batch else batch["image"]


def _name(prior: Callable[[Performance], Tensor]) -> str:
    """A prior's function and options, but for the memory it may use, which does not change its result."""
    function = getattr(prior, "func", prior)
    options = sorted((key, value) for key, value in getattr(prior, "keywords", {}).items() if key != "chunk_bytes")
    return f"{function.__module__}.{function.__qualname__} {options}"


def _key(*parts: str | Iterable[str]) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
