"""How time and memory grow: with concepts, with the batch, and with the number of images in the cache."""

import gc
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measure import Curve, interleaved, peak_bytes, report, resident_bytes, single_thread
from setting import BATCH
from torch import Tensor, nn

from semexplain.concepts.priors import feature_ratio
from semexplain.data.arrays import ArrayDataset, whole_batch
from semexplain.data.loading import EpochSampler, ResumableLoader
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.explanation import Performance
from semexplain.system.row_store import RowStore, Source
from semexplain.system.trouble import told

CONCEPTS = (5, 39, 128, 512)
BATCHES = (2, 8, 16, 64)
IMAGES = (1_000, 10_000, 100_000)
ROW = (512, 2, 2)  # a small map, so that 100,000 fit on any disk; time and memory are compared per byte


def prior_of(outputs: int) -> Callable[[], Tensor]:
    """The prior of a batch at the head 4096-4096-``outputs``."""
    head = nn.Sequential(nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, outputs)).requires_grad_(False)
    x = torch.randn(BATCH, 4096)

    def prior() -> Tensor:
        leaf = x.detach().requires_grad_()
        logits = head(leaf)
        return feature_ratio(Performance(logits[:, 0], logits[:, 1:], leaf, leaf))

    return prior


def step_of(concepts: int, batch: int) -> Callable[[], None]:
    """Forward and backward pass of the explainer."""
    explainer = ResNetExplainer((512, 14, 14), concepts, depth=152)
    maps = torch.rand(batch, 512, 14, 14)

    def step() -> None:
        explainer(maps).sum().backward()

    return step


def rows(count: int) -> RowStore:
    """A store of so many random rows."""
    store = RowStore(Path(tempfile.mkdtemp()))
    random = np.random.default_rng(0)

    def batches(positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(positions), 1000):
            yield {"feature_map": random.random((len(positions[start : start + 1000]), *ROW), np.float32)}

    store.fill(Source([str(number) for number in range(count)], batches, 1000), "rows")
    return store


def epoch_of(store: RowStore, count: int) -> Callable[[], None]:
    """One shuffled pass over a store."""
    keys = [str(number) for number in range(count)]
    dataset = ArrayDataset({"feature_map": store.rows("feature_map", keys)}, np.ones((count, 1), dtype=bool))
    loader = ResumableLoader(dataset, EpochSampler(count), 64, collate_fn=whole_batch, ahead=True)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def main() -> None:
    """Measure and report."""
    single_thread()
    curves = []

    priors = {str(n): prior_of(n + 1) for n in CONCEPTS}
    times = interleaved(priors, repeats=3)
    per_image = {n: [1000 * value / BATCH for value in values] for n, values in times.items()}
    curves.append(Curve("prior of Case 2", "concepts", "ms per image", per_image))
    memory = {n: [peak_bytes(partial(prior)) / BATCH / 2**20] for n, prior in priors.items()}
    curves.append(Curve("prior of Case 2", "concepts", "MiB per image at the peak", memory))
    del priors

    times = interleaved({str(n): step_of(n, BATCH) for n in CONCEPTS}, repeats=3)
    per_image = {n: [1000 * value / BATCH for value in values] for n, values in times.items()}
    curves.append(Curve("explainer's step", "concepts", "ms per image", per_image))
    gc.collect()

    times = interleaved({str(size): step_of(39, size) for size in BATCHES}, repeats=3)
    per_image = {size: [1000 * value / int(size) for value in values] for size, values in times.items()}
    curves.append(Curve("explainer's step", "images in a batch", "ms per image", per_image))
    gc.collect()
    memory = {str(size): [peak_bytes(step_of(39, size)) / 2**20] for size in BATCHES}
    curves.append(Curve("explainer's step", "images in a batch", "MiB at the peak, weights left out", memory))
    gc.collect()

    stores = {str(count): rows(count) for count in IMAGES}
    before = resident_bytes()
    epochs = {count: epoch_of(store, int(count)) for count, store in stores.items()}
    times = interleaved(epochs, repeats=3)
    per_image = {count: [1e6 * value / int(count) for value in values] for count, values in times.items()}
    curves.append(Curve("reading the cache, shuffled", "images", "µs per image", per_image))
    grown = {}
    for count, epoch in epochs.items():
        gc.collect()
        start = resident_bytes()
        epoch()
        grown[count] = [(resident_bytes() - start) / 2**20]
    curves.append(Curve("one more pass over the cache", "images", "MiB of resident memory gained", grown))
    total = {"all three": [(resident_bytes() - before) / 2**20]}
    curves.append(Curve("all passes together", "images", "MiB of resident memory gained", total))
    report(curves)


if __name__ == "__main__":
    with told():
        main()
