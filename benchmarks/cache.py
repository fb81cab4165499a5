"""P6 and P7: filling the cache costs one pass of the performer; reading it costs next to nothing."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from measure import Goal, interleaved, ratios, report, single_thread
from setting import BATCH, images, module, performer

from semexplain.concepts.priors import feature_ratio
from semexplain.data.arrays import ArrayDataset, whole_batch
from semexplain.data.loading import EpochSampler, ResumableLoader
from semexplain.system.row_store import RowStore, Source
from semexplain.system.trouble import told

ROWS = 2048


def main() -> None:
    """Measure and report."""
    single_thread()
    teacher = performer()
    pictures = images()
    answers = teacher.kind.answers(teacher, feature_ratio)

    def forward() -> None:
        with torch.no_grad():
            teacher.head(teacher.feature(teacher.encode(pictures)))

    def build() -> None:
        def batches(positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
            with torch.no_grad():
                feature_map = teacher.encode(pictures)
                said = {"feature_map": feature_map.half(), **answers.compute(feature_map)}
            yield {name: value.numpy() for name, value in said.items()}

        with tempfile.TemporaryDirectory() as folder:
            RowStore(Path(folder)).fill(Source([str(number) for number in range(BATCH)], batches, BATCH), "build")

    times = interleaved({"forward": forward, "build": build})

    store = RowStore(Path(tempfile.mkdtemp()))
    random = np.random.default_rng(0)

    def batches(positions: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(positions), 256):
            size = len(positions[start : start + 256])
            yield {"feature_map": random.random((size, 512, 14, 14), np.float32).astype(np.float16)}

    keys = [str(number) for number in range(ROWS)]
    store.fill(Source(keys, batches, 256), "rows")
    rows = store.rows("feature_map", keys)
    dataset = ArrayDataset({"feature_map": rows}, np.ones((ROWS, 1), dtype=bool))
    loader = ResumableLoader(dataset, EpochSampler(ROWS), BATCH, collate_fn=whole_batch, ahead=True)

    student = module(teacher).train()
    maps = torch.rand(BATCH, 512, 14, 14)

    def step() -> None:
        student.explainer(maps).sum().backward()

    def read() -> None:
        for batch in loader:
            assert len(batch["feature_map"]) == BATCH

    def plain() -> None:
        buffer = bytearray(BATCH * rows[:1].nbytes)
        for path in sorted(store.folder.glob("*-feature_map.npy")):
            with path.open("rb", buffering=0) as file:
                os.lseek(file.fileno(), 0, 0)
                while file.readinto(buffer):
                    pass

    reading = interleaved({"read": read, "plain": plain, "step": step})
    share = tuple(a / ROWS * BATCH / b for a, b in zip(reading["read"], reading["step"], strict=True))
    report(
        [
            Goal(
                "P6",
                "filling the cache, priors of all 40 targets and writing included, over the performer's forward pass",
                ratios(times["build"], times["forward"]),
                1.10,
            ),
            Goal("P7", "reading a batch from the cache, shuffled, over the explainer's step", share, 0.02),
            Goal(
                "P7",
                "throughput of reading, over that of a plain sequential read",
                ratios(reading["plain"], reading["read"]),
                0.5,
                at_most=False,
            ),
        ]
    )


if __name__ == "__main__":
    with told():
        main()
