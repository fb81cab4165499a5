"""What an explained network must offer: a cut at the feature ``x`` where concepts are read (Sec. 3)."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semexplain.concepts.base import ConceptKind, Game
from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.network import Prior
from semexplain.data.framing import Framing
from semexplain.data.text_files import first_few
from semexplain.explanation import Performance
from semexplain.performers.cut.structure import tensors
from semexplain.system.config import suggest

PLAIN = (int, float, str, torch.dtype)


class Performer(nn.Module, ABC):
    """A network whose score is to be explained, cut where its concepts are read.

    ``encode`` maps an image to the feature map that the explainer sees, ``feature`` maps that to the tensor
    ``x`` at which priors are taken, ``outputs`` maps ``x`` to everything that the network tells, one of which is the
    score. What the concepts are, its kind of concept says. Everything up to ``x`` needs no gradient, so a prior costs
    backward passes through the head alone.

    A subclass sets the attributes in its constructor and gives ``encode``, ``feature`` and ``outputs``; the rest has
    defaults that hold for every network.

    Attributes:
        kind: What the concepts are, such as :class:`~semexplain.concepts.filters.Filters`.
        target_name: What the score stands for, one of ``output_names``.
        output_names: Names of the ``K`` outputs; data have labels of the same names.
        image_shape: Channels, height and width of an image ``(C, H, W)``.
        map_shape: Channels, height and width ``(C, h, w)`` of the feature map, as an explainer sees it.
        explanation_options: Constructor parameters that choose what is explained and so do not influence training.
        outlined_without: Constructor parameters of files with weights, on which names and shapes do not depend.
    """

    kind: ConceptKind
    target_name: str
    output_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    map_shape: tuple[int, int, int]
    explanation_options: frozenset[str] = frozenset({"checkpoint", "kind"})
    outlined_without: tuple[str, ...] = ("weights", "checkpoint")
    _frozen = False

    @abstractmethod
    def encode(self, image: Tensor) -> Tensor:
        """The feature map ``(B, C, h, w)`` of images as the framing keeps them, ``(B, C', H, W)``, uint8 by default.

        It has another shape if there is a view.
        """

    @abstractmethod
    def feature(self, feature_map: Tensor) -> Tensor:
        """The tensor ``x`` of shape ``(B, ...)`` at which the concepts are read."""

    @abstractmethod
    def outputs(self, feature: Tensor) -> Tensor:
        """All outputs ``(B, K)`` before any sigmoid or softmax, functions of ``x``."""

    def view(self, feature_map: Tensor) -> Tensor:
        """What an explainer and heat maps see of the feature map, ``(B, C, h, w)``, linear in it; by default itself."""
        return feature_map

    def grid(self, feature: Tensor) -> Tensor:
        """The maps ``(B, C, h, w)`` in ``x``, linear in it, that filters are; by default ``x`` itself."""
        return feature

    def with_grid(self, feature: Tensor, grid: Tensor) -> Tensor:
        """``x`` with other maps.

        Args:
            feature: ``x`` of ``B`` images.
            grid: ``(k B, C, h, w)``, of all images in one state after the other.
        """
        del feature
        return grid

    @property
    def framing(self) -> Framing:
        """How pictures are brought to ``image_shape``; stretched to uint8, where a network does not say."""
        return Framing(*self.image_shape)

    @property
    def device(self) -> torch.device:
        """Where its parameters are, and images have to be; the CPU, if it has none."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @cached_property
    def target_index(self) -> int:
        """Which of the outputs is the score."""
        if self.target_name not in self.output_names:
            raise ValueError(
                f"expected one of the outputs {first_few(self.output_names)} as the target, got "
                f"{self.target_name!r}{suggest(self.target_name, self.output_names)}."
            )
        return self.output_names.index(self.target_name)

    @cached_property
    def concept_names(self) -> tuple[str, ...]:
        """Names of the ``n`` concepts, in the order of the columns that ``head`` returns."""
        return self.kind.names(self)

    @cached_property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of ``x`` without the images."""
        return tuple(self.feature(self._empty_map()).shape[1:])

    @cached_property
    def hidden_size(self) -> int:
        """``d`` of the last hidden layer."""
        return self.hidden(self.feature(self._empty_map())).shape[1]

    def hidden(self, feature: Tensor) -> Tensor:
        """Last hidden layer ``(B, d)``, for explainers that read it; ``x`` itself, where a network does not say."""
        return feature.flatten(1)

    def head(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Score ``(B,)`` before any sigmoid, and concept strengths ``(B, n)``, both functions of ``x``."""
        outputs = self.outputs(feature)
        return outputs[:, self.target_index], self.kind.strengths(self, feature, outputs)

    @property
    def variant(self) -> str:
        """What the weights do not tell but scores, concepts and priors depend on: part of their address in a cache."""
        return f"{self.target_name} {self.kind.variant} {self.encode_variant} {self.head_variant}"

    @property
    def encode_variant(self) -> str:
        """What the weights do not tell but the feature map depends on, such as strides; by default the class."""
        return type(self).__qualname__

    @property
    def head_variant(self) -> str:
        """What the weights do not tell but ``x`` and the outputs depend on; by default the class."""
        return type(self).__qualname__

    @property
    def geometry(self) -> MapGeometry:
        """Where in the image the cells of the feature map look; spread evenly over it, where a network does not say."""
        return MapGeometry.even(self.image_shape[1:], self.map_shape[1:])

    @torch.no_grad()
    def encode_modules(self) -> list[nn.Module]:
        """The layers that ``encode`` uses, with their preprocessing: by default those that an empty image runs through.

        A network whose ``encode`` uses parameters without calling their module has to say so itself.
        """
        layers: list[nn.Module] = []
        hooks = [
            m.register_forward_hook(lambda module, *_: layers.append(module)) for m in self.modules() if m is not self
        ]
        try:
            self.encode(self.framing.empty(self.device))
        finally:
            for hook in hooks:
                hook.remove()
        return list(dict.fromkeys(layers))

    def _empty_map(self) -> Tensor:
        return torch.zeros(1, *self.map_shape, device=self.device)

    def freeze(self) -> "Performer":
        """Stay in evaluation mode and without gradients from now on, whatever ``train`` is called with."""
        self._frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "Performer":
        """Switch to training mode, unless frozen: Lightning switches whole module trees."""
        super().train(mode and not self._frozen)
        return self

    def perform(
        self, feature_map: Tensor, prior: Prior | None = None, columns: Sequence[int] | None = None
    ) -> tuple[Performance, Tensor | None]:
        """Score, concepts and, if asked for, prior weights of a batch; all detached, all in float32.

        Works inside ``no_grad``, inference mode and autocast, because it leaves them: a prior needs a graph, and
        half precision loses it (squares of small gradients underflow).

        Args:
            feature_map: Output of ``encode``, ``(B, C, h, w)``.
            prior: Function from a performance to prior weights ``(B, n)``, of the concepts to use or of all.
            columns: The concepts to use; all by default.

        Returns:
            The performance restricted to ``columns``, and the prior weights ``(B, len(columns))`` or ``None``. Where
            concepts are maps of ``x``, its ``feature`` are these maps.
        """
        device = feature_map.device.type
        with torch.inference_mode(False), torch.autocast(device, enabled=False):
            with torch.no_grad():
                whole = self.feature(feature_map.float().clone())
            x = self.grid(whole) if self.kind.own_maps else whole
            x = x.detach().requires_grad_(prior is not None)
            with torch.set_grad_enabled(prior is not None):
                score, concepts = self.head(self.with_grid(whole, x) if self.kind.own_maps else x)
                if columns is not None:
                    concepts = concepts[:, list(columns)]
                performance = Performance(score, concepts, x, feature_map)
                weights = None if prior is None else prior(performance).detach()
        if weights is not None and columns is not None and weights.shape[1] != len(columns):
            weights = weights[:, list(columns)]  # a prior of filters is of all maps of the feature
        return Performance(score.detach(), concepts.detach(), x.detach(), feature_map), weights

    def game(self, feature_map: Tensor, columns: Sequence[int], reference: Tensor | None = None) -> Game:
        """Scores of feature maps ``(B, C, h, w)`` with some of their concepts taken away.

        Args:
            feature_map: Output of ``encode``.
            columns: The ``n`` concepts that may be taken away.
            reference: ``(n,)``, what they have then, if the kind of concept ``needs_means``.
        """
        with torch.inference_mode(False), torch.no_grad():
            x = self.feature(feature_map.float().clone())
        return self.kind.game(self, x, columns, reference)

    def forward(self, image: Tensor) -> Performance:
        """What the performer says of images ``(B, 3, H, W)``."""
        with torch.no_grad():
            feature_map = self.encode(image)
        return self.perform(feature_map)[0]

    def digest(self, *modules: nn.Module) -> str:
        """SHA-256 of names, shapes, types and bytes of all parameters and buffers (or of those of ``modules``)."""
        return state_digest(*(modules or (self,)))


class TrainablePerformer(Performer):
    """A performer that can be trained here: pretrained layers (the trunk), and new ones above them.

    Where only the new layers train, the trunk's output is computed once. The feature map of the explanation may lie
    higher: ``encode`` is the trunk followed by ``refine``.
    """

    @property
    def trunk_variant(self) -> str:
        """What the weights do not tell but the trunk's output depends on: strides and pools; by default the class."""
        return type(self).__name__

    @abstractmethod
    def trunk_map(self, image: Tensor) -> Tensor:
        """Output ``(B, C', H', W')`` of the pretrained layers for images ``(B, 3, S, S)``, uint8 RGB."""

    def refine(self, trunk_map: Tensor) -> Tensor:
        """The feature map ``(B, C, H, W)`` from the trunk's output; the same by default."""
        return trunk_map

    def encode(self, image: Tensor) -> Tensor:
        """The feature map ``(B, C, H, W)`` of images ``(B, 3, S, S)``, uint8 RGB."""
        return self.refine(self.trunk_map(image))

    @abstractmethod
    def trunk_modules(self) -> list[nn.Module]:
        """The layers that make the trunk's output, with their preprocessing."""

    @abstractmethod
    def head_modules(self) -> list[nn.Module]:
        """All other layers that have parameters."""

    def encode_modules(self) -> list[nn.Module]:
        """The layers that ``encode`` uses: the trunk by default."""
        return self.trunk_modules()

    @property
    @abstractmethod
    def output_layer(self) -> nn.Linear:
        """The last layer, whose outputs are the logits."""

    def logits(self, trunk_map: Tensor) -> Tensor:
        """All outputs ``(B, K)`` from the trunk's output; it is trained on labels of their names."""
        return self.outputs(self.feature(self.refine(trunk_map)))

    def training_loss(
        self, trunk_map: Tensor, label: Tensor, epoch: int, class_weights: Tensor | None = None
    ) -> Tensor:
        """What training minimises, per image.

        Args:
            trunk_map: ``(B, C', H', W')``.
            label: bool ``(B, K)``.
            epoch: Counted from 1.
            class_weights: ``(2, K)``, see :func:`logistic_loss`.
        """
        del epoch
        return logistic_loss(self.logits(trunk_map), label, class_weights)

    def parameter_groups(self, trunk_lr_factor: float) -> list[dict[str, Any]]:
        """Groups for an optimizer; ``lr_factor`` multiplies its learning rate, other keys are the optimizer's own."""
        head = [parameter for module in self.head_modules() for parameter in module.parameters()]
        trunk = [parameter for module in self.trunk_modules() for parameter in module.parameters()]
        return [{"params": head, "lr_factor": 1.0}, {"params": trunk, "lr_factor": trunk_lr_factor}]


def logistic_loss(logits: Tensor, label: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """``Σ log(1 + exp(-c y))`` over the labels with ``c = ±1``, averaged over the images.

    Args:
        logits: ``(B, K)``.
        label: ``(B, K)``, bool.
        class_weights: ``(2, K)``. Factors for images without and with each label; 1 by default.

    Example:
        >>> logistic_loss(torch.zeros(2, 3), torch.tensor([[True, False, True]] * 2))  # 3 ln 2
        tensor(2.0794)
        >>> logistic_loss(torch.zeros(1, 1), torch.tensor([[True]]), torch.tensor([[0.5], [2.0]]))  # 2 ln 2
        tensor(1.3863)
    """
    weight = None if class_weights is None else torch.where(label, class_weights[1], class_weights[0])
    target = label.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum") / len(logits)


def state_digest(*modules: nn.Module) -> str:
    """SHA-256 of the parameters and buffers of modules: equal digests mean equal functions.

    Example:
        >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
        >>> state_digest(a) == state_digest(b)
        False
        >>> _ = b.load_state_dict(a.state_dict())
        >>> state_digest(a) == state_digest(b)
        True
    """
    return weights_digest(*(module.state_dict() for module in modules))


def weights_digest(*states: Mapping[str, Any]) -> str:
    """SHA-256 of names, types, shapes and bytes of tensors; of other states, such as packed weights, what is in them.

    Example:
        >>> weights_digest({"a": torch.zeros(2)}) == weights_digest({"a": torch.zeros(2, 1)})
        False
    """
    sha = hashlib.sha256()
    for state in states:
        for name, value in sorted(state.items()):
            if not isinstance(value, Tensor):
                sha.update(f"{name} {value if isinstance(value, PLAIN) else type(value).__qualname__}".encode())
            for tensor in tensors(value):
                sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                plain = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach()
                sha.update(plain.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
