"""The face-attribute performer of Experiment 2: VGG-16 with one output per attribute (Sec. 4.2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval, MultipleOf
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from semexplain.concepts.base import ConceptKind
from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.outputs import Outputs
from semexplain.data.attributes import ATTRIBUTES
from semexplain.performers.base import TrainablePerformer
from semexplain.performers.preprocessing import Preprocessing
from semexplain.performers.weights import load_performer, load_trunk, randomise

# Channels of VGG-16's thirteen convolutions in units of `width`; "M" is a max-pool. The last pool belongs to the head.
PLAN = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8]


class VGG16Attributes(TrainablePerformer):
    """One logit per attribute of a table, one of which is the score and the others the concepts.

    The explainer sees the output of conv5_3 after its ReLU, ``(B, 8 width, S / 16, S / 16)``; ``x`` is the output of
    the first fully-connected layer, ``(B, hidden)``, from which all logits are computed, so that the target and the
    concepts share it.

    Args:
        target: The attribute to explain.
        attributes: Names of all attributes, those of the data's labels; CelebA's 40 by default.
        image_size: ``S``, the side of the square input in pixels.
        weights: Initial weights of the convolutions: ``IMAGENET1K_V1`` (torchvision's, downloaded), the path of a
            local ``.safetensors`` or ``.pth`` state dict (of VGG-16 or of its ``features``), or ``None`` for random.
        preprocessing: What the weights expect; ``auto`` takes it from the weights.
        x_stage: Read ``x`` before or after the ReLU of the first fully-connected layer.
        width: Channels of the first convolution; 64 is VGG-16, fewer make a small network of the same shape.
        hidden: Units of the two hidden fully-connected layers.
        dropout: Probability of dropping a hidden unit while the performer is trained.
        checkpoint: A trained performer (``performer.safetensors``) to load in place of ``weights``.
        kind: What the concepts are; the other attributes by default.

    Raises:
        ValueError: If the weights do not fit, or do not say which preprocessing they need.
        FileNotFoundError: If a weights or checkpoint file is not there.
    """

    explanation_options = frozenset({"target", "x_stage", "checkpoint", "kind"})

    def __init__(
        self,
        target: str = "Attractive",
        attributes: Sequence[str] | None = None,
        image_size: Annotated[int, Ge(32)] = 224,
        weights: str | None = "IMAGENET1K_V1",
        preprocessing: Literal["auto", "torchvision", "caffe_rgb255"] = "auto",
        x_stage: Literal["pre_relu", "post_relu"] = "pre_relu",
        width: Annotated[int, Ge(2), MultipleOf(2)] = 64,
        hidden: Annotated[int, Ge(1)] = 4096,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
        checkpoint: str | None = None,
        kind: ConceptKind | None = None,
    ) -> None:
        super().__init__()
        self.x_stage = x_stage
        self.kind = kind or Outputs()
        self.target_name = target
        self.output_names = ATTRIBUTES if attributes is None else tuple(attributes)
        if len(set(self.output_names)) < len(self.output_names):
            raise ValueError(f"`attributes` must name every output once, got {', '.join(self.output_names)}.")
        self.image_shape = (3, image_size, image_size)
        self.map_shape = (8 * width, image_size // 16, image_size // 16)

        self.trunk = make_layers([c * width if isinstance(c, int) else c for c in PLAN], batch_norm=False)
        for layer in self.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # in place, the ReLU would overwrite a feature that someone else still holds
        randomise(self.trunk)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(8 * width * (image_size // 32) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, len(self.output_names))
        self.dropout = nn.Dropout(dropout)
        if checkpoint is not None:
            self.preprocess = Preprocessing("torchvision")  # its buffers are loaded with the rest
            load_performer(self, Path(checkpoint))
        else:
            network = f"a VGG-16 of width {width}"
            recipe = load_trunk(self.trunk, weights, preprocessing, network=network, download="vgg16")
            self.preprocess = Preprocessing(recipe)

    @property
    def head_variant(self) -> str:
        """Stage of x."""
        return self.x_stage

    @property
    def geometry(self) -> MapGeometry:
        """Convolutions up to conv5_3 are 3 x 3 with padding 1, pools 2 x 2."""
        return MapGeometry.of((2, 2, 0) if layer == "M" else (3, 1, 1) for layer in PLAN)

    def trunk_map(self, image: Tensor) -> Tensor:
        """Feature map of conv5_3 after its ReLU, ``(B, 8 width, S / 16, S / 16)``."""
        pixels = self.preprocess(image).contiguous(
            memory_format=torch.channels_last
        )  # faster on CPUs, see docs/performance.md
        return self.trunk(pixels).contiguous()

    def feature(self, feature_map: Tensor) -> Tensor:
        """``x``: the first fully-connected layer's output ``(B, hidden)``, before or after its ReLU."""
        x = self.fc1(self.pool(feature_map).flatten(1))
        return x if self.x_stage == "pre_relu" else x.relu()

    @property
    def output_layer(self) -> nn.Linear:
        """The third fully-connected layer."""
        return self.fc3

    def head_modules(self) -> list[nn.Module]:
        """The layers above the feature map; the others are the trunk."""
        return [self.fc1, self.fc2, self.fc3]

    def trunk_modules(self) -> list[nn.Module]:
        """The layers, with their preprocessing, that make the feature map."""
        return [self.preprocess, self.trunk]

    def outputs(self, feature: Tensor) -> Tensor:
        """All attribute logits ``(B, K)`` from ``x``."""
        return self.fc3(self.dropout(self.hidden(feature)))

    def hidden(self, feature: Tensor) -> Tensor:
        """Second fully-connected layer ``(B, hidden)`` after its ReLU."""
        # A second ReLU would keep the values of a post-ReLU x, but not its gradient where x is 0.
        activation = feature.relu() if self.x_stage == "pre_relu" else feature
        return self.fc2(self.dropout(activation)).relu()
