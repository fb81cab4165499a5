"""The paper's sizes for the benchmarks: VGG-16 at 224 pixels, ResNet-152, batches of 16; random weights and images."""

import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semexplain.concepts.losses import distillation, prior_l2
from semexplain.concepts.selection import all_concepts
from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.images import Split
from semexplain.data.module import ImageDataModule
from semexplain.explainers.base import Explainer
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training.distillation import Distillation

BATCH = 16


class Noise(ImageDataModule):
    """JPEG files of coarse random pictures, at CelebA's size.

    Args:
        count: Images of the training split.
    """

    names = tuple(ATTRIBUTES)

    def __init__(self, count: int, **options: object) -> None:
        super().__init__(batch_size=BATCH, num_workers=0, **options)
        self.count = count
        self.folder = Path(tempfile.mkdtemp(prefix="noise-"))

    def read(self) -> dict[str, Split]:
        """Draw the files."""
        random = np.random.default_rng(0)
        paths = [self.folder / f"{number:05d}.jpg" for number in range(self.count)]
        for path in paths:
            coarse = random.integers(0, 256, (14, 12, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC).save(path, quality=90)
        labels = random.random((self.count, len(self.names))) < 0.5

        def split(count: int) -> Split:
            return Split(tuple(path.stem for path in paths[:count]), tuple(paths[:count]), labels[:count])

        return {"train": split(self.count), "val": split(2), "test": split(2)}


def noise(count: int) -> Noise:
    """The data module, set up."""
    datamodule = Noise(count)
    datamodule.setup()
    return datamodule


def performer() -> VGG16Attributes:
    """The frozen performer of Experiment 2, random weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VGG16Attributes(target="Attractive", weights=None).freeze()


def module(teacher: VGG16Attributes, depth: int = 152) -> Distillation:
    """The training of Experiment 2: ResNet, squared prior loss, fused SGD."""
    return Distillation(
        teacher,
        partial(ResNetExplainer, depth=depth),
        all_concepts,
        partial(torch.optim.SGD, lr=1e-4, momentum=0.9, fused=True),
        partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        {},
    )


def train_step(explainer: Explainer, optimizer: torch.optim.Optimizer, said: Mapping[str, Tensor]) -> None:
    """The bare arithmetic of a training step on what the performer says of a batch."""
    raw = explainer(said["feature_map"])
    loss = distillation((raw * said["concepts"]).sum(1) + explainer.bias, said["score"])
    loss = loss + 0.2 * prior_l2(raw=raw, weights=raw, prior=said["prior"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def images(count: int = BATCH) -> Tensor:
    """Random uint8 images ``(count, 3, 224, 224)``."""
    return torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
