"""Several explainers on one pass over the data: what sharing the performer, or reading the cache once, buys."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measure import Curve, interleaved, report, single_thread
from setting import BATCH, module, noise, performer, train_step

from semexplain.concepts.priors import feature_ratio
from semexplain.runs.cache import PerformanceCache
from semexplain.training.distillation import Distillation

COUNTS = (1, 2, 4)


def training(student: Distillation) -> Callable[[dict[str, torch.Tensor]], None]:
    """A training step of one explainer on what the performer says of a batch."""
    student.train()
    optimizer = torch.optim.SGD(student.explainer.parameters(), lr=1e-4, momentum=0.9, fused=True)

    def step(said: dict[str, torch.Tensor]) -> None:
        train_step(student.explainer, optimizer, {**said, "feature_map": said["feature_map"].float()})

    return step


def main() -> None:
    """Measure and report."""
    single_thread()
    teacher = performer()
    steps = [training(module(teacher)) for _ in range(max(COUNTS))]
    computed, cached = noise(BATCH), noise(BATCH)
    PerformanceCache(Path(tempfile.mkdtemp()), cached, torch.device("cpu")).attach_performances(teacher, feature_ratio)

    def one_pass(count: int) -> Callable[[], None]:
        def arm() -> None:
            image = next(iter(computed.ordered("train")))["image"]
            with torch.no_grad():
                feature_map = teacher.encode(image)
            performance, prior = teacher.perform(feature_map, feature_ratio)
            assert prior is not None
            said = {"feature_map": feature_map, "score": performance.score, "concepts": performance.concepts}
            for step in steps[:count]:
                step({**said, "prior": prior})

        return arm

    def one_reading(count: int) -> Callable[[], None]:
        def arm() -> None:
            batch = next(iter(cached.ordered("train")))
            for step in steps[:count]:
                step(batch)

        return arm

    kinds = {"computed": one_pass, "cached": one_reading}
    times = interleaved({f"{kind} {count}": make(count) for count in COUNTS for kind, make in kinds.items()})

    def per_explainer(kind: str) -> dict[str, list[float]]:
        return {str(k): [1000 * value / BATCH / k for value in times[f"{kind} {k}"]] for k in COUNTS}

    over, unit = "explainers on one pass", "ms per image and explainer"
    report(
        [
            Curve("training that runs the performer", over, unit, per_explainer("computed")),
            Curve("training on the cache", over, unit, per_explainer("cached")),
        ]
    )


if __name__ == "__main__":
    main()
