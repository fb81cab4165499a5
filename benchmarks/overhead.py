"""P10: what Lightning and this package's module add to a step, with a network so small that nothing else is left."""

import logging
import tempfile
import time
import warnings
from functools import partial
from math import prod

import numpy as np
import pytorch_lightning as pl
import torch
from measure import Goal, report, single_thread
from setting import train_step
from torch import Tensor, nn

from semexplain.concepts.selection import all_concepts
from semexplain.data.arrays import ArrayDataset, whole_batch
from semexplain.data.loading import EpochSampler, ResumableLoader
from semexplain.explainers.base import Explainer
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.system.trouble import told
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.distillation import Distillation

STEPS = 1000


class Tiny(Explainer):
    """One linear layer."""

    def __init__(self, map_shape: tuple[int, int, int], n_concepts: int) -> None:
        super().__init__("identity")
        self.layer = nn.Linear(prod(map_shape), n_concepts)

    def forward(self, feature_map: Tensor) -> Tensor:
        """The layer's output."""
        return self.layer(feature_map.flatten(1))

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """The layer."""
        return self.layer.weight, self.layer.bias


def main() -> None:
    """Measure and report."""
    single_thread()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    teacher = VGG16Attributes(target="Attractive", weights=None, image_size=32, width=1, hidden=8).freeze()
    sizes = {"feature_map": (8, 2, 2), "score": (), "concepts": (39,), "prior": (39,)}
    random = np.random.default_rng(0)
    arrays = {name: random.random((STEPS * 4, *size), np.float32) for name, size in sizes.items()}
    dataset = ArrayDataset(arrays, np.ones((STEPS * 4, 40), dtype=bool))
    sgd = partial(torch.optim.SGD, lr=1e-4, momentum=0.9, fused=True)

    def loader() -> ResumableLoader:
        return ResumableLoader(dataset, EpochSampler(len(dataset)), 4, drop_last=True, collate_fn=whole_batch)

    def student() -> Distillation:
        constant = partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0)
        return Distillation(teacher, Tiny, all_concepts, sgd, constant, {})

    def bare() -> float:
        model = student()
        optimizer = sgd(model.explainer.parameters())
        start = time.process_time()
        for batch in loader():
            train_step(model.explainer, optimizer, batch)
        return (time.process_time() - start) / STEPS

    def trained() -> float:
        with tempfile.TemporaryDirectory() as folder:
            trainer = pl.Trainer(
                accelerator="cpu",
                max_epochs=1,
                callbacks=[PriorWeight(0.2)],
                logger=pl.loggers.CSVLogger(folder),
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                use_distributed_sampler=False,
            )
            model = student()
            start = time.process_time()
            trainer.fit(model, loader())
        return (time.process_time() - start) / STEPS

    rounds = [(bare(), trained()) for _ in range(6)][1:]
    added = tuple(1000 * (whole - alone) for alone, whole in rounds)
    report([Goal("P10", "time that a step takes beyond a bare loop of the same arithmetic", added, 1.0, unit=" ms")])


if __name__ == "__main__":
    with told():
        main()
