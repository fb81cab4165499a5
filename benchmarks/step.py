"""P1 to P3: a training step, cached and not, against the explainer alone; the share of the prior in both cases."""

import logging
import tempfile
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from measure import Curve, Goal, interleaved, ratios, report, single_thread
from setting import BATCH, images, module, noise, performer, train_step
from torch import Tensor

from semexplain.concepts.priors import feature_ratio, filter_jacobian
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.performers.interpretable_cnn import InterpretableCNN
from semexplain.runs.cache import PerformanceCache
from semexplain.system.trouble import told
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.distillation import Distillation

ROUNDS = 5


class Watch(pl.Callback):
    """Processor seconds from the end of one training step to that of the next, loader included."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.stamps: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Note the time."""
        self.stamps.append(time.process_time())

    def seconds(self) -> float:
        """Mean over the steps that count."""
        return (self.stamps[-1] - self.stamps[self.skip - 1]) / (len(self.stamps) - self.skip)


def trained(student: Distillation, datamodule: pl.LightningDataModule, steps: int, skip: int) -> float:
    """Seconds per step of a real trainer, the first steps left out."""
    watch = Watch(skip)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=steps,
            limit_val_batches=0,
            callbacks=[watch, PriorWeight(0.2)],
            logger=pl.loggers.CSVLogger(folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
        )
        trainer.fit(student, datamodule)
    return watch.seconds()


def share_of_filter_prior() -> tuple[float, ...]:
    """Share of the prior of 512 filters in a step of Case 1 that runs the performer."""
    teacher = InterpretableCNN("vgg16", weights=None).freeze()
    explainer = ResNetExplainer((512, 14, 14), 512, depth=152, output="softplus")
    pictures = images()
    with torch.no_grad():
        maps = teacher.encode(pictures)

    def forward() -> None:
        with torch.no_grad():
            teacher.encode(pictures)

    times = interleaved(
        {
            "forward": forward,
            "with": lambda: teacher.perform(maps, filter_jacobian),
            "without": lambda: teacher.perform(maps, None),
            "explainer": lambda: explainer(maps).sum().backward(),
        }
    )
    steps = zip(*(times[name] for name in ("forward", "with", "without", "explainer")), strict=True)
    return tuple((a - b) / (forward + a + own) for forward, a, b, own in steps)


def main() -> None:
    """Measure and report."""
    single_thread()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    teacher = performer()
    student = module(teacher).train()
    computed, cached = noise(6 * BATCH), noise(6 * BATCH)
    PerformanceCache(Path(tempfile.mkdtemp()), cached, torch.device("cpu")).attach_performances(teacher, feature_ratio)

    batch = next(iter(cached.ordered("train")))
    maps = batch["feature_map"].float()
    optimizer = torch.optim.SGD(student.explainer.parameters(), lr=1e-4, momentum=0.9, fused=True)

    said = {**batch, "feature_map": maps}

    def bare() -> None:
        train_step(student.explainer, optimizer, said)

    alone, fast, slow = [], [], []
    for number in range(ROUNDS + 1):
        times = interleaved({"bare": bare}, repeats=3, warmup=number == 0)["bare"]
        last = (sum(times) / len(times), trained(student, cached, 6, 3), trained(student, computed, 2, 1))
        if number > 0:
            for values, value in zip((alone, fast, slow), last, strict=True):
                values.append(value)

    pictures = next(iter(computed.ordered("train")))["image"]
    exact = teacher.perform(teacher.encode(pictures), feature_ratio)
    difference = largest(batch, exact)
    fresh = module(teacher).eval()  # the statistics of a few steps on noise amplify any difference
    with torch.no_grad():
        shift = fresh.explainer(maps) - fresh.explainer(exact[0].feature_map)
        shift = float(shift.norm() / fresh.explainer(maps).norm())

    feature_map = exact[0].feature_map
    prior = interleaved(
        {
            "with": lambda: teacher.perform(feature_map, feature_ratio),
            "without": lambda: teacher.perform(feature_map, None),
        }
    )
    share = tuple((a - b) / c for a, b, c in zip(prior["with"], prior["without"], slow, strict=True))
    parts = {
        "performer": [a - b - c + d for a, b, c, d in zip(slow, alone, prior["with"], prior["without"], strict=True)],
        "prior": [a - b for a, b in zip(prior["with"], prior["without"], strict=True)],
        "explainer": alone,
        "cache, Lightning": [a - b for a, b in zip(fast, alone, strict=True)],
    }
    spent = {name: [1000 * value / BATCH for value in values] for name, values in parts.items()}
    report(
        [
            Curve("where the time of a step goes", "part", "ms per image", spent),
            Goal(
                "P1",
                "cached training step, loader and Lightning included, over the explainer alone",
                ratios(fast, alone),
                1.10,
            ),
            Goal("P2", "step that runs the performer, over a cached step", ratios(slow, fast), 8, at_most=False),
            Goal("P2", "largest relative difference of ŷ, y, w, cached and computed", (difference,), 1e-5),
            Goal("P2", "relative change of α by float16 maps, explainer as initialised", (shift,), 1e-3),
            Goal("P3", "share of the prior in a step that runs the performer (Case 2, 39 concepts)", share, 0.05),
            Goal("P3", "the same for Case 1, 512 filters", share_of_filter_prior(), 0.03),
        ]
    )


def largest(batch: dict[str, Tensor], exact: tuple) -> float:
    """Greatest difference of score, concepts and prior, relative to the largest of each."""
    performance, weights = exact
    pairs = [(batch["score"], performance.score), (batch["concepts"], performance.concepts), (batch["prior"], weights)]
    return max(float((stored - value).abs().max() / value.abs().max()) for stored, value in pairs)


if __name__ == "__main__":
    with told():
        main()
