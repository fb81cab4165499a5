"""A data set from outside the package: pictures of stripes, with labels in an order of their own."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semexplain.data.images import SPLITS, Split
from semexplain.data.module import ImageDataModule


class Stripes(ImageDataModule):
    """Noise with or without dark stripes.

    Args:
        root: Folder of the pictures; they are made where they are missing.
        **kwargs: What every :class:`ImageDataModule` takes.
    """

    names = ("c", "b", "a")

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)

    def prepare_data(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for number in range(48):
            pixels = np.random.default_rng(number).integers(0, 255, (20, 30), dtype=np.uint8)
            pixels[:, :: 3 if number % 2 else 40] //= 4
            Image.fromarray(pixels).save(self.root / f"{number:02}.png")

    def read(self) -> dict[str, Split]:
        splits = {}
        for place, name in enumerate(SPLITS):
            numbers = range(place, 48, 3)
            labels = np.array([[number % 2, number % 2 == 0, number % 5 == 0] for number in numbers], dtype=bool)
            ids = tuple(f"{number:02}.png" for number in numbers)
            splits[name] = Split(ids, tuple(self.root / name for name in ids), labels)
        return splits
