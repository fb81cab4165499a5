"""What a frozen performer says of every image, computed once and shared by all runs."""

import copy
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from semexplain.concepts.answers import Answers
from semexplain.concepts.network import Prior
from semexplain.data.arrays import MIRRORED, RowArray
from semexplain.data.contents import content_digests
from semexplain.data.images import SPLITS
from semexplain.data.module import ImageDataModule, ViewDataset
from semexplain.performers.base import Performer, TrainablePerformer, state_digest
from semexplain.system.files import write_json
from semexplain.system.once import Wait
from semexplain.system.processes import is_first
from semexplain.system.reading import read_json
from semexplain.system.row_store import JointSource, RowStore, fill_together
from semexplain.system.rows import Rows
from semexplain.training.distillation import Distillation

log = logging.getLogger(__name__)
READING = 2  # raise it when images are read in another way
CHECKED = 8
DEVICE_SHARE = 0.6  # of the free memory of an accelerator that the arrays may take, the rest is for training
Compute = Callable[[Tensor], dict[str, Tensor]]


class PerformanceCache:
    """Feature maps, scores, concepts and priors of a data set, as raw arrays on disk.

    Valid when nothing random happens to an image before the explainer sees it, except mirroring: then both views are
    kept. What the performer computes is addressed by a digest of its weights and options, and within it each image by
    a digest of its file's content, size and crop: whatever changes is computed anew, and data sets that share images
    share their rows. On opening, a few images are computed again and compared.

    Args:
        folder: Where the arrays are kept.
        datamodule: A data module after ``setup``.
        device: Where the performer computes.
    """

    def __init__(self, folder: Path, datamodule: ImageDataModule, device: torch.device) -> None:
        self.folder = folder
        self.datamodule = datamodule
        self.device = device
        self.dtype = np.dtype(datamodule.cache_dtype)
        self.views = [(split, at, False) for split in SPLITS for at in range(len(datamodule.splits[split].ids))]
        if datamodule.flip_train:
            self.views += [("train", at, True) for at in range(len(datamodule.splits["train"].ids))]
        self.half = torch.from_numpy(np.empty(0, self.dtype)).dtype
        self._keys: list[str] = []

    @torch.no_grad()
    def fits(self, performer: Performer, limit_gb: float, module: Distillation | None = None) -> bool:
        """Whether all arrays take at most ``limit_gb`` GB, and those not there yet half of what is free on the disk.

        Args:
            performer: The network that is explained, or trained.
            limit_gb: The limit.
            module: Whose arrays they are; without one those that a performer is trained on.
        """
        blank = performer.framing.empty(self.device)
        training = performer.training
        performer = performer.to(self.device).eval()
        if module is None:
            assert isinstance(performer, TrainablePerformer)
            store, arrays = self._trunk(performer)[0], [performer.trunk_map(blank)]
        else:
            store, arrays = self._map_store(performer), []
            feature_map = performer.encode(blank)
            for network in dict.fromkeys((performer, module.performer)):
                answers = network.kind.answers(network.to(self.device), module.teacher.prior)
                arrays += answers.compute(feature_map).values()
            arrays.append(feature_map.to(self.half))
            if module.reads == "hidden":
                arrays.append(module.performer.hidden(module.performer.feature(feature_map.float())).to(self.half))
        performer.train(training)
        needed = len(self.views) * sum(array.nbytes for array in arrays)
        if needed > limit_gb * 1e9:
            return False
        room = (
            shutil.disk_usage(next(place for place in (self.folder, *self.folder.parents) if place.exists())).free / 2
        )
        return needed <= room or needed * len(store.missing(self.keys)) / len(self.views) <= room

    @torch.no_grad()
    def attach_trunk_maps(self, performer: TrainablePerformer) -> None:
        """Let the data module yield the trunk's output, ``trunk_map`` ``(B, C', H', W')``, instead of images.

        It is kept in float32, since the scores that are explained later are computed from it.
        """
        training = performer.training
        store, source = self._trunk(performer.to(self.device).eval())
        self._fill([store], source)
        self._attach({"trunk_map": lambda keys: store.rows("trunk_map", keys)})
        performer.train(training)  # a performer that is about to be trained must not stay without dropout

    @torch.no_grad()
    def attach_performances(self, performer: Performer, prior: Prior, beside: Sequence[Performer] = ()) -> None:
        """Let the data module yield ``feature_map``, ``score``, ``concepts`` and ``prior`` instead of images.

        A feature map is kept once for all targets. It is computed from the trunk's output where that was kept when the
        performer was trained. The prior is that of a training step, for all concepts; a run that uses some takes their
        columns.

        Args:
            performer: The network that is explained.
            prior: Its prior.
            beside: The same network with other targets, which soon will be: what is missing of theirs is computed in
                the same pass, and only kept.
        """
        performer = performer.to(self.device).freeze()
        every = {
            each.variant: each for each in (p.kind.answers(p.to(self.device), prior) for p in (performer, *beside))
        }
        source: Callable[[np.ndarray], Iterable[Tensor]] = self._images
        encode: Callable[[Tensor], Tensor] = performer.encode
        if isinstance(performer, TrainablePerformer):
            trunk, trunk_source = self._trunk(performer)
            trunk.source = trunk_source.of(0)
            if not trunk.missing(self.keys):
                source, encode = (
                    _stored(trunk.rows("trunk_map", self.keys), self.datamodule.batch_size),
                    performer.refine,
                )
        maps = self._map_store(performer)
        stores = {variant: self._score_store(performer, each) for variant, each in every.items()}
        kept: list[Compute] = [lambda feature_map: {"feature_map": feature_map.to(self.half)}]
        kept += [each.compute for each in every.values()]
        self._fill([maps, *stores.values()], self._source(kept, source, encode))
        answers = performer.kind.answers(performer, prior)
        recalled = _recalled(answers, stores[answers.variant])
        self._attach({"feature_map": lambda keys: maps.rows("feature_map", keys), **recalled})

    @torch.no_grad()
    def attach_answers(self, performer: Performer, prior: Prior) -> None:
        """Let the data module yield ``score``, ``concepts`` and ``prior`` of another head on the same feature maps.

        They are computed from the feature maps that :meth:`attach_performances` has kept.
        """
        performer = performer.to(self.device).freeze()
        answers = performer.kind.answers(performer, prior)
        key = _key(performer.digest(), performer.encode_variant, answers.variant, str(self.dtype))
        store = RowStore(self.folder / f"answers-{key}")
        self._fill([store], self._source([lambda feature_map: answers.compute(feature_map.float())], self._maps))
        self._attach(_recalled(answers, store))

    @torch.no_grad()
    def attach_hidden(self, performer: Performer) -> None:
        """Let the data module also yield ``hidden`` ``(B, d)``, the performer's last hidden layer.

        It is computed from the feature maps that :meth:`attach_performances` has kept.
        """
        performer = performer.to(self.device).freeze()

        def compute(feature_map: Tensor) -> dict[str, Tensor]:
            return {"hidden": performer.hidden(performer.feature(feature_map.float())).to(self.half)}

        key = _key(performer.digest(), performer.encode_variant, str(self.dtype))
        store = RowStore(self.folder / f"hidden-{key}")
        self._fill([store], self._source([compute], self._maps))
        self._attach({"hidden": lambda keys: store.rows("hidden", keys)})

    def kept_maps(self, performer: Performer, split: str) -> RowArray | None:
        """Feature maps of a split's images as they have been kept, in the order of the split; None unless all have."""
        keys = [key for key, view in zip(self.keys, self.views, strict=True) if view[::2] == (split, False)]
        store = self._map_store(performer)
        return None if store.missing(keys) else store.rows("feature_map", keys)

    @property
    def keys(self) -> list[str]:
        """Of every view: what its pixels depend on."""
        if not self._keys:
            self._keys = list(view_keys(self.datamodule, self.views, self.folder / "contents.json"))
        return self._keys

    def _maps(self, positions: np.ndarray) -> Iterator[Tensor]:
        """Feature maps of some views that have been kept, a batch at a time."""
        for start in range(0, len(positions), self.datamodule.batch_size):
            part = positions[start : start + self.datamodule.batch_size]
            yield torch.cat([self._map(*self.views[position]) for position in part])

    def _map(self, split: str, at: int, flipped: bool) -> Tensor:
        name = f"feature_map{MIRRORED}" if flipped else "feature_map"
        return torch.as_tensor(self.datamodule.arrays(split)[name][np.array([at])])

    def _trunk(self, performer: TrainablePerformer) -> tuple[RowStore, JointSource]:
        layers = performer.trunk_modules()

        def compute(image: Tensor) -> dict[str, Tensor]:
            still = copy.deepcopy(performer).freeze() if performer.training else performer  # a row is mended meanwhile
            return {"trunk_map": cast(TrainablePerformer, still).trunk_map(image)}

        folder = self.folder / f"trunk-{_key(state_digest(*layers), performer.trunk_variant)}"
        return RowStore(folder), self._source([compute], self._images)

    def _map_store(self, performer: Performer) -> RowStore:
        """Feature maps, whatever the target is."""
        return RowStore(self.folder / f"maps-{_key(performer.digest(), performer.encode_variant, str(self.dtype))}")

    def _score_store(self, performer: Performer, answers: Answers) -> RowStore:
        """What the answers are, computed from feature maps before they are rounded."""
        key = _key(performer.digest(), performer.encode_variant, answers.variant)
        return RowStore(self.folder / f"scores-{key}")

    def _images(self, positions: np.ndarray) -> Iterator[Tensor]:
        """Images of some views, read by worker processes while the performer computes.

        A loader draws a seed for its workers: here not from the run's generator, or what is kept would decide numbers.
        """
        dataset = ViewDataset(self.datamodule, [self.views[position] for position in positions])
        workers = self.datamodule.num_workers if len(positions) > self.datamodule.batch_size else 0
        generator = torch.Generator()
        return iter(DataLoader(dataset, self.datamodule.batch_size, num_workers=workers, generator=generator))

    def _source(
        self,
        kept: Sequence[Compute],
        source: Callable[[np.ndarray], Iterable[Tensor]],
        encode: Callable[[Tensor], Tensor] = lambda batch: batch,
    ) -> JointSource:
        """How stores get rows, also in the middle of a training, from a thread that reads batches.

        Args:
            kept: What each of them keeps, from what is encoded.
            source: Gives batches of the views at some positions.
            encode: What is made of a batch, once for all stores.
        """

        def compute(positions: np.ndarray, numbers: Sequence[int]) -> Iterator[list[dict[str, np.ndarray]]]:
            for batch in source(positions):
                with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                    encoded = encode(batch.to(self.device))
                    found = [kept[number](encoded) for number in numbers]
                yield [{name: value.cpu().numpy() for name, value in arrays.items()} for arrays in found]

        return JointSource(self.keys, compute, self.datamodule.batch_size)

    def _fill(self, stores: Sequence[RowStore], source: JointSource) -> None:
        for number, store in enumerate(stores):
            store.source = source.of(number)
        self._spot_check(stores, source)
        fill_together(stores, source, stores[0].folder.name.split("-")[0])

    def _spot_check(self, stores: Sequence[RowStore], source: JointSource) -> None:
        """Compute eight images again: what another performer said, or another version, must not pass for its word."""
        absent = [{self.keys[position] for position in store.missing(self.keys)} for store in stores]
        rows = [position for position, key in enumerate(self.keys) if not all(key in keys for keys in absent)]
        if not rows:
            return
        sample = np.random.default_rng().choice(rows, min(CHECKED, len(rows)), replace=False)
        again = list(source.compute(sample, range(len(stores))))
        for number, (store, keys) in enumerate(zip(stores, absent, strict=True)):
            there = [place for place, position in enumerate(sample) if self.keys[position] not in keys]
            for name in again[0][number] if there else ():
                value = np.concatenate([np.asarray(batch[number][name]) for batch in again]).astype(np.float32)[there]
                found = store.rows(name, [self.keys[position] for position in sample[there]])[:].astype(np.float32)
                if not np.allclose(found, value, rtol=2e-3, atol=1e-3 * max(np.abs(value).max(), 1e-12)):
                    raise ValueError(
                        f"The stored {name} in {store.folder} differ from what the performer says now. Delete that "
                        "folder; it will be computed again."
                    )

    def _attach(self, arrays: Mapping[str, Callable[[list[str]], RowArray]]) -> None:
        """Hand arrays of each split, and for mirrored training images their twins, to the data module."""
        by_split: dict[str, dict[str, RowArray | Tensor]] = {}
        for split in SPLITS:
            by_split[split] = {}
            for suffix, flipped in (("", False), (MIRRORED, True)):
                keys = [key for key, view in zip(self.keys, self.views, strict=True) if view[::2] == (split, flipped)]
                if keys:
                    by_split[split] |= {f"{name}{suffix}": rows(keys) for name, rows in arrays.items()}
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            by_split = resident(by_split, self.device, int(DEVICE_SHARE * free))
        self.datamodule.attach(by_split)


def resident(
    arrays: Mapping[str, Mapping[str, RowArray | Tensor]], device: torch.device, limit: int
) -> dict[str, dict[str, RowArray | Tensor]]:
    """The arrays of all splits as tensors on a device, if they take at most ``limit`` bytes; otherwise as they are.

    Args:
        arrays: By split and name.
        device: Where to.
        limit: Bytes.
    """
    values = [array for group in arrays.values() for array in group.values()]
    row_bytes = [torch.as_tensor(array[np.arange(min(1, len(array)))]).nbytes for array in values]
    if sum(len(array) * size for array, size in zip(values, row_bytes, strict=True)) > limit:
        log.info("The arrays do not fit into the memory of %s: they are read from disk.", device)
        return {split: dict(group) for split, group in arrays.items()}
    return {split: {name: _upload(array, device) for name, array in group.items()} for split, group in arrays.items()}


def _upload(array: RowArray | Tensor, device: torch.device) -> Tensor:
    parts = []
    for rows in np.array_split(np.arange(len(array)), max(1, len(array) // 1024)):
        parts.append(torch.as_tensor(array[rows]).to(device))
    return torch.cat(parts)


def view_keys(datamodule: ImageDataModule, views: Iterable[tuple[str, int, bool]], index: Path) -> Iterator[str]:
    """A digest of what decides the pixels of each view: the image's content, the crop, mirroring and the framing.

    Args:
        datamodule: Where the views are from.
        views: Split, position in it, and whether mirrored once more.
        index: File that remembers the content of files that have not changed.
    """
    paths = sorted({path for split in datamodule.splits.values() for path in split.paths})
    digests = content_digests(paths, index)
    framing = [f"{datamodule.framing.shape} {datamodule.framing.options}"] if datamodule.framing.options else []
    for name, at, flipped in views:
        split = datamodule.splits[name]
        box = None if split.boxes is None else split.boxes[at].tolist()
        mirrored = flipped != (split.mirrored is not None and bool(split.mirrored[at]))
        inside = datamodule.digests(name)
        content = digests[split.paths[at]] if inside is None else inside[at]
        yield _key(content, str(box), str(mirrored), str(datamodule.image_size), str(READING), *framing)


def _recalled(answers: Answers, store: RowStore) -> dict[str, Callable[[list[str]], RowArray]]:
    def recalled(name: str) -> Callable[[list[str]], RowArray]:
        return lambda keys: answers.recall({part: store.rows(part, keys) for part in answers.names})[name]

    return {name: recalled(name) for name in ("score", "concepts", "prior")}


def _stored(rows: Rows, size: int) -> Callable[[np.ndarray], Iterator[Tensor]]:
    def batches(positions: np.ndarray) -> Iterator[Tensor]:
        for start in range(0, len(positions), size):
            yield torch.from_numpy(rows[positions[start : start + size]])

    return batches


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def cache_for(
    config: DictConfig,
    datamodule: ImageDataModule,
    device: torch.device,
    performer: Performer,
    record: Path,
    module: Distillation | None = None,
) -> PerformanceCache | None:
    """The cache that ``data.cache`` asks for: ``auto`` (if it fits), ``off`` or a folder.

    Args:
        config: The run's configuration.
        datamodule: Its data.
        device: Where the performer computes.
        performer: The network that is explained, or trained.
        record: File that keeps what ``auto`` was decided to be, since a run that goes on elsewhere keeps to it.
        module: Whose arrays are to be kept; without one those that a performer is trained on.
    """
    if datamodule.cache == "off":
        return None
    if datamodule.varies:
        log.info("Images are augmented at random: what the performer says of them is computed in every step, not kept.")
        return None
    folder = Path(config.paths.cache if datamodule.cache == "auto" else datamodule.cache)
    cache = PerformanceCache(folder, datamodule, device)
    if datamodule.cache == "auto" and not _decided(record, lambda: cache.fits(performer, datamodule.cache_gb, module)):
        log.info(
            "What the performer says of all images takes more than data.cache_gb=%s GB or half of the free disk: "
            "every step computes it.",
            datamodule.cache_gb,
        )
        return None
    return cache


def _decided(record: Path, fits: Callable[[], bool]) -> bool:
    """Whether ``auto`` keeps something: decided once for a run, by its first process."""
    if not record.exists() and is_first():
        write_json(record, {"kept": fits()})
    wait = None
    while not record.exists():
        wait = wait or Wait("Waiting for the first process, which decides about the cache.", f"{record} is not there")
        wait.goes_on()
    return bool(read_json(record)["kept"])
