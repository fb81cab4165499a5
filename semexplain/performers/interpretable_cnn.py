"""The animal performers of Experiment 1: CNNs whose top filters are trained to stand for object parts (Sec. 4.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge, Interval, MultipleOf
from torch import Tensor, nn

from semexplain.concepts.base import ConceptKind
from semexplain.concepts.filters import Filters
from semexplain.concepts.geometry import MapGeometry
from semexplain.performers.architectures import (
    ARCHITECTURES,
    FULL_HIDDEN,
    FULL_WIDTH,
    Conv,
    Norm,
    channels_after,
    check_size,
    narrowed,
    side_after,
    trunk_layers,
)
from semexplain.performers.base import TrainablePerformer, logistic_loss
from semexplain.performers.filter_loss import filter_loss, filter_masks, sharpness_target
from semexplain.performers.preprocessing import Preprocessing
from semexplain.performers.weights import load_performer, load_trunk, randomise

# Of the way to its target that sharpness goes in a step: that of the authors' SGD for VGG-16, momentum included. They
# learn it by a gradient, which an optimizer that scales gradients would undo.
SHARPNESS_RATE = 0.016


class FilterMask(nn.Module):
    """Template of every map of a layer, with a learned sharpness per filter (see :mod:`.filter_loss`).

    Args:
        channels: ``n``.
        dead_map_center: Centre of a map without activation: its largest value or the first cell.
    """

    sharpness: Tensor

    def __init__(self, channels: int, dead_map_center: Literal["argmax", "corner"]) -> None:
        super().__init__()
        self.dead_map_center = dead_map_center
        self.register_buffer("sharpness", torch.full((channels,), 2.0))

    @torch.no_grad()
    def adapt(self, activation: Tensor, mask: Tensor, positive: Tensor) -> None:
        """Move the sharpness a step towards what the activations ``(B, n, m, m)`` suggest."""
        target = sharpness_target(self.sharpness, activation, mask, positive)
        self.sharpness.lerp_(target.to(self.sharpness), SHARPNESS_RATE)

    def forward(self, maps: Tensor) -> Tensor:
        """Signed masks of maps ``(B, n, m, m)`` before or after their ReLU, of the same shape, without gradient."""
        return filter_masks(maps.relu(), self.sharpness, maps if self.dead_map_center == "argmax" else None)


class InterpretableCNN(TrainablePerformer):
    """One output, whether an image shows the target animal; the concepts are the filters of the top conv-layer.

    A pretrained network up to relu5 is followed by a mask, a new 3 x 3 convolution conv6, and a second mask. ``x``, the
    feature map that the explainer sees, are the masked maps of conv6 ``(B, n, m, m)``, before their ReLU: a filter's
    strength, the sum of its map, can then be negative. Above are ReLU, the network's own last pool and three
    fully-connected layers. A mask sets all but the surroundings of a map's centre to 0, and a loss keeps each filter's
    activation there, so that it comes to stand for one part.

    Args:
        architecture: Caffe's AlexNet, VGG-M, VGG-S or VGG-16; ``n`` is 256 for the first and 512 for the others.
        target: The animal; a name only, the data decide which images are positive.
        image_size: ``S``, the side of the square input in pixels: 227 for AlexNet, 224 for the others.
        weights: Initial weights up to conv5: ``IMAGENET1K_V1`` (torchvision's, downloaded, VGG-16 only), the path of a
            local ``.safetensors`` or ``.pth`` state dict of ``features`` or of a MatConvNet ``.mat``, or ``None`` for
            random.
        preprocessing: What the weights expect; ``auto`` takes it from the weights.
        x_stage: Read ``x`` before or after conv6's ReLU, in either case after the mask. The score is the same.
        dead_map_center: Centre of the mask of a map without activation: its largest value or the first cell.
        masks: Without them, and then without filter loss, it is a plain CNN of the same shape, to compare with.
        filter_loss: Factor on the loss that keeps activations in their masks; 0 leaves it out.
        width: Channels of VGG-16's first convolution; 64 is the full network, the others shrink by the same factor.
        hidden: Units of the two hidden fully-connected layers.
        fc7_kernel: Cells a side that are left for the first of them; the architecture's own by default.
        tuned: How many of the pretrained convolutions, the last ones, train with the new layers when those train alone
            (``performer_training.train=head``); the trunk, whose output is computed once, ends before them.
        dropout: Probability of dropping a hidden unit while the performer is trained.
        checkpoint: A trained performer (``performer.safetensors``) to load in place of ``weights``.
        kind: What the concepts are; the filters by default.

    Raises:
        ValueError: If the image size leaves another number of cells than fc7 needs, or the weights do not fit.
        FileNotFoundError: If a weights or checkpoint file is not there.
    """

    explanation_options = frozenset({"x_stage", "checkpoint", "kind"})

    def __init__(
        self,
        architecture: Literal["alexnet", "vgg_m", "vgg_s", "vgg16"] = "vgg16",
        target: Literal["bird", "cat", "cow", "dog", "horse", "sheep"] = "dog",
        image_size: Annotated[int, Ge(32)] = 224,
        weights: str | None = None,
        preprocessing: Literal["auto", "torchvision", "caffe_rgb255"] = "auto",
        x_stage: Literal["masked_pre_relu", "masked_post_relu"] = "masked_pre_relu",
        dead_map_center: Literal["argmax", "corner"] = "argmax",
        masks: bool = True,
        filter_loss: Annotated[float, Ge(0)] = 1.0,
        width: Annotated[int, Ge(4), MultipleOf(4)] = FULL_WIDTH,
        hidden: Annotated[int, Ge(1)] = FULL_HIDDEN,
        fc7_kernel: Annotated[int, Ge(1)] | None = None,
        tuned: Annotated[int, Interval(ge=0, le=5)] = 0,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.8,
        checkpoint: str | None = None,
        kind: ConceptKind | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.x_stage = x_stage
        self.dead_map_center = dead_map_center
        self.masks = masks
        self.filter_loss_factor = filter_loss
        self.kind = kind or Filters()
        self.target_name = target
        self.output_names = (target,)
        self.plan = ARCHITECTURES[architecture]
        kernel = fc7_kernel or self.plan.fc7_kernel
        check_size(architecture, image_size, kernel)
        channels = channels_after(self.plan.trunk)
        n = narrowed(channels, width)
        self.image_shape = (3, image_size, image_size)
        side = side_after(self.plan.trunk, image_size)
        self.map_shape = (n, side, side)

        self.trunk = trunk_layers(self.plan.trunk, width)
        randomise(self.trunk)
        convolutions = [place for place, layer in enumerate(self.trunk) if isinstance(layer, nn.Conv2d)]
        self.cut = convolutions[-tuned] if tuned > 0 else len(self.trunk)
        if masks:
            self.mask5 = FilterMask(n, dead_map_center)
            self.mask6 = FilterMask(n, dead_map_center)
        self.conv6 = nn.Conv2d(n, n, 3, padding=1)
        self.pool6 = nn.MaxPool2d(self.plan.pool6.kernel, self.plan.pool6.stride, ceil_mode=self.plan.pool6.ceil)
        self.fc7 = nn.Linear(n * kernel**2, hidden)
        self.fc8 = nn.Linear(hidden, hidden)
        self.fc9 = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self._initialise((channels * 9, channels * self.plan.fc7_kernel**2, FULL_HIDDEN, FULL_HIDDEN))
        if checkpoint is not None:
            self.preprocess = Preprocessing("torchvision")  # its buffers are loaded with the rest
            load_performer(self, Path(checkpoint))
        else:
            network = self.plan.name if width == FULL_WIDTH else f"{self.plan.name} of width {width}"
            download = "vgg16" if architecture == "vgg16" else ""
            recipe = load_trunk(self.trunk, weights, preprocessing, network=network, download=download)
            self.preprocess = Preprocessing(recipe)

    @property
    def trunk_variant(self) -> str:
        """Strides and pools of the architecture, and how many layers the trunk has."""
        return f"{self.architecture} {self.cut}"

    @property
    def encode_variant(self) -> str:
        """Strides and pools, which leave no trace in the weights; stage of x; masks."""
        return f"{self.architecture} {self.x_stage} masks={self.masks} dead={self.dead_map_center}"

    @property
    def geometry(self) -> MapGeometry:
        """Of the cells of conv6."""
        windows = [layer for layer in (*self.plan.trunk, Conv(self.map_shape[0])) if not isinstance(layer, Norm)]
        return MapGeometry.of((layer.kernel, layer.stride, getattr(layer, "padding", 0)) for layer in windows)

    def trunk_map(self, image: Tensor) -> Tensor:
        """Output of the layers below those that are tuned; of relu5 if none is. ``(B, n, m, m)``."""
        pixels = self.preprocess(image).contiguous(memory_format=torch.channels_last)  # a third faster on CPUs
        return self.trunk[: self.cut](pixels).contiguous()

    def refine(self, trunk_map: Tensor) -> Tensor:
        """``x``: the masked maps of conv6 ``(B, n, m, m)``, before or after their ReLU."""
        return self._refine(trunk_map)[0]

    def feature(self, feature_map: Tensor) -> Tensor:
        """``x``, which is the feature map itself."""
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        """The target's logit ``(B, 1)``."""
        return self.fc9(self.dropout(self.hidden(feature)))

    def hidden(self, feature: Tensor) -> Tensor:
        """Second fully-connected layer ``(B, hidden)`` after its ReLU."""
        # A second ReLU would keep the values of a post-ReLU x, but not its gradient where x is 0.
        maps = feature.relu() if self.x_stage == "masked_pre_relu" else feature
        return self.fc8(self.dropout(self.fc7(self.pool6(maps).flatten(1)).relu())).relu()

    @property
    def output_layer(self) -> nn.Linear:
        """The third fully-connected layer."""
        return self.fc9

    def training_loss(
        self, trunk_map: Tensor, label: Tensor, epoch: int, class_weights: Tensor | None = None
    ) -> Tensor:
        """Logistic loss, with the gradients of the filter losses of both masked layers.

        Its value is that of the logistic loss alone, because those of the surrogates mean nothing. They are made for a
        sum over the batch, so they are divided by its size. Under several processes each uses its own images' means.
        In training mode the masks' sharpness goes a step towards its target.

        Args:
            trunk_map: ``(B, n, m, m)``.
            label: bool ``(B, 1)``.
            epoch: Counted from 1.
            class_weights: ``(2, 1)``, of the logistic loss.
        """
        feature_map, layers = self._refine(trunk_map)
        loss = logistic_loss(self.outputs(feature_map), label, class_weights)
        positive = label[:, 0].bool()
        for activation, mask, template in layers:
            if self.filter_loss_factor > 0:
                extra = self.filter_loss_factor * filter_loss(activation, mask, positive, epoch)
                loss = loss + (extra - extra.detach()) / len(label)
            if self.training:
                template.adapt(activation, mask, positive)
        return loss

    def parameter_groups(self, trunk_lr_factor: float) -> list[dict[str, Any]]:
        """As the authors train: biases of new layers twice as fast, without decay, that of conv5 five times as fast."""
        new = self._new_layers()
        *trunk, conv5_bias = self.trunk.parameters()
        return [
            {"params": [layer.weight for layer in new], "lr_factor": 1.0},
            {"params": [layer.bias for layer in new], "lr_factor": 2.0, "weight_decay": 0.0},
            {"params": trunk, "lr_factor": trunk_lr_factor},
            {"params": [conv5_bias], "lr_factor": 5 * trunk_lr_factor},
        ]

    def trunk_modules(self) -> list[nn.Module]:
        """The layers, with their preprocessing, below those that are tuned."""
        return [self.preprocess, self.trunk[: self.cut]]

    def head_modules(self) -> list[nn.Module]:
        """The other layers, masks included."""
        return [self.trunk[self.cut :], *self._conv6_modules(), self.fc7, self.fc8, self.fc9]

    def encode_modules(self) -> list[nn.Module]:
        """The layers that make ``x``."""
        return [self.preprocess, self.trunk, *self._conv6_modules()]

    def _conv6_modules(self) -> list[nn.Module]:
        return [self.mask5, self.conv6, self.mask6] if self.masks else [self.conv6]

    def _new_layers(self) -> tuple[nn.Conv2d | nn.Linear, ...]:
        return self.conv6, self.fc7, self.fc8, self.fc9

    def _initialise(self, full_inputs: Sequence[int]) -> None:
        """As the authors: 0.01 in the full network; with that, a narrower one would lose its signal on the way up."""
        for layer, inputs in zip(self._new_layers(), full_inputs, strict=True):
            nn.init.normal_(layer.weight, std=0.01 * (inputs / layer.weight[0].numel()) ** 0.5)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def _refine(self, trunk_map: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor, FilterMask]]]:
        """``x``, and for both masked layers their activation, its mask and what made it."""
        layers: list[tuple[Tensor, Tensor, FilterMask]] = []
        relu5 = self.trunk[self.cut :](trunk_map)
        if self.masks:
            mask5 = self.mask5(relu5)
            maps = self.conv6(relu5 * mask5.clamp_min(0))
            mask6 = self.mask6(maps)
            feature_map = maps * mask6.clamp_min(0)
            layers = [(relu5, mask5, self.mask5), (maps.relu(), mask6, self.mask6)]
        else:
            feature_map = self.conv6(relu5)
        return feature_map if self.x_stage == "masked_pre_relu" else feature_map.relu(), layers
