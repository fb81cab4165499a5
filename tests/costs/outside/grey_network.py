"""A performer from outside the package: a small network of grey pictures that are wider than high."""

import torch
from torch import Tensor, nn

from semexplain.concepts.filters import Filters
from semexplain.performers.base import Performer


class GreyNetwork(Performer):
    """Four filters, and a layer from their maps to three outputs; the weights are its own, by a seed.

    Args:
        target: The output to explain.
        seed: Of the weights.
    """

    def __init__(self, target: str = "b", seed: int = 0) -> None:
        super().__init__()
        self.kind = Filters()
        self.target_name, self.output_names = target, ("a", "b", "c")
        self.image_shape, self.map_shape = (1, 16, 24), (4, 8, 12)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.filters = nn.Conv2d(1, 4, 3, stride=2, padding=1)
            self.layer = nn.Linear(4 * 8 * 12, 3)

    def encode(self, image: Tensor) -> Tensor:
        return self.filters(image.float() / 255)

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        return self.layer(feature.relu().flatten(1))
