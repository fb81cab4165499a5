"""A few random pictures, small performers, and a cache of what these say."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from semexplain.data.images import Split
from semexplain.data.module import ImageDataModule
from semexplain.performers.base import Performer
from semexplain.performers.interpretable_cnn import InterpretableCNN
from semexplain.runs.cache import PerformanceCache

SIZES = {"train": 11, "val": 5, "test": 4}


class Dots(ImageDataModule):
    """A few random pictures with one label; ``rotate`` gives the splits other members."""

    names = ("dot",)

    def __init__(self, folder: Path, rotate: int = 0, boxes: bool = False, **options: object) -> None:
        super().__init__(**({"batch_size": 4, "image_size": 32, "num_workers": 0} | options))
        self.folder, self.rotate, self.boxes = folder, rotate, boxes
        if not folder.exists():
            folder.mkdir()
            for number in range(20):
                pixels = np.random.default_rng(number).integers(0, 256, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02d}.png")

    def read(self) -> dict[str, Split]:
        paths = sorted(self.folder.glob("*.png"))
        paths, splits = paths[self.rotate :] + paths[: self.rotate], {}
        for name, size in SIZES.items():
            chosen, paths = paths[:size], paths[size:]
            labels = np.arange(size)[:, None] % 2 == 0
            box = np.tile([2, 3, 30, 33], (size, 1)) if self.boxes else None
            splits[name] = Split(tuple(path.stem for path in chosen), tuple(chosen), labels, box)
        return splits


def dots(folder: Path, **options: object) -> Dots:
    module = Dots(folder, **options)
    module.setup()
    return module


def filters(**options: object) -> InterpretableCNN:
    torch.manual_seed(0)
    performer = InterpretableCNN(
        "vgg16", **({"weights": None, "image_size": 64, "width": 4, "hidden": 16, "fc7_kernel": 2} | options)
    )
    for layer in (performer.conv6, performer.fc7, performer.fc8, performer.fc9):
        nn.init.kaiming_normal_(layer.weight)
    return performer.freeze()


def attached(folder: Path, module: ImageDataModule, performer: Performer, prior: Callable) -> PerformanceCache:
    cache = PerformanceCache(folder, module, torch.device("cpu"))
    cache.attach_performances(performer, prior)
    return cache
