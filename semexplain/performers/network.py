"""Anyone's network as a performer: any module, cut at a layer by its name."""

import copy
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.concepts.base import ConceptKind
from semexplain.concepts.filters import Filters
from semexplain.concepts.network import Prior
from semexplain.data.framing import Framing
from semexplain.explanation import Performance
from semexplain.performers.answer import Chosen, Output, answer_for, ended, function_digest
from semexplain.performers.base import Performer, state_digest, weights_digest
from semexplain.performers.checks import Checks, checked
from semexplain.performers.class_names import class_names, own_class_names
from semexplain.performers.cut import Cut
from semexplain.performers.cut.structure import tensors
from semexplain.performers.cut.swap import require_separation, swap_fault
from semexplain.performers.cut.whole import Inputs, Whole
from semexplain.performers.joined_grid import JoinedGrid
from semexplain.performers.layers import Layers, last_layer, layers_of, slope
from semexplain.performers.presets import FORMS, preset_of
from semexplain.performers.tokens import Grid, grid_of
from semexplain.system.trouble import Trouble

TRIED = 5  # drawn images with which a network is tried; the first is the one that its stubs repeat
FIRST = 4  # real images with which it is tried again


class Network(Performer):
    """Any network in PyTorch, explained at any layer that separates it.

    The module is wrapped as it is: nothing of it is edited, copied or pickled. It is put into evaluation mode and
    frozen, for good. Below the layer it runs and stops there, above it is replayed, see
    :class:`~semexplain.performers.cut.Cut`. That the network is a function of the layer's value alone is tested here
    with drawn images, and again with the first images that it gets.

    Args:
        model: The network. What ``torch.compile`` or ``DataParallel`` has wrapped is unwrapped. Weights in half
            precision stay so; scores are float32.
        layer: Where concepts are read, by dotted name; ``act:2`` for the second call of a module that is used again;
            several, if only together they separate the network, whose channels are joined. By default the last layer
            with several cells over the image that does.
        map: The layer that the explainer sees, at or below ``layer``; by default the same.
        output: What is explained: an index, a class's name, a difference such as ``[3, -5]``, a function from what the
            network returns to scores ``(B,)``, or the name of a module whose output is meant, such as the logits below
            a softmax, with those that are meant if it has several: ``["fc", 3]``, ``["fc", ["cat", "-dog"]]``. By
            default the only output of a regression.
        classes: Names of the outputs, or a text file with one a line; by default what a network of timm or Hugging Face
            says itself.
        transform: What brings pictures to the network: ``weights.transforms()``, ``{size, mean, std, scale}`` for
            ``(pixels / scale - mean) / std``, a function, or another form that
            :func:`~semexplain.performers.presets.preset_of` knows; by default what a network of timm or Hugging Face
            says itself.
        inputs: What the network needs beside the images, by keyword: constants, of which a tensor whose first dimension
            is 1 is expanded to the batch; or a function from the images, as the network gets them, to these keywords.
            What is in no pixel, such as an age, comes as a further channel of the images: ``{"age": {"channel": 3}}``.
            What differs from image to image must enter below ``layer``.
        kind: What the concepts are; filters by default.

    Attributes:
        layers_read: Names of the layers where concepts are read.

    Raises:
        Trouble: If the network cannot be explained there, with the reason and what to do.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, 2))
        >>> net = Network(model, layer="1", output="dog", classes=["cat", "dog"], transform={"size": [3, 8, 8]})
        >>> image = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
        >>> score, strengths = net.head(net.feature(net.encode(image)))
        >>> torch.equal(score, model(image / 255)[:, 1]), strengths.shape
        (True, torch.Size([5, 4]))
    """

    explanation_options = frozenset({"checkpoint", "kind", "layer", "map", "output"})

    def __init__(
        self,
        model: nn.Module,
        layer: str | Sequence[str] | None = None,
        map: str | Sequence[str] | None = None,
        output: Output = None,
        classes: str | Path | Sequence[str] | None = None,
        transform: Any = None,
        inputs: Inputs | None = None,
        kind: ConceptKind | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind or Filters()
        preset = preset_of(transform, model)
        if preset is None:
            raise Trouble(f"transform: the network does not say how pictures are prepared. Expected {FORMS}.")
        self.pixels, self._framing = preset.normalisation(), preset.framing
        self.image_shape = preset.framing.shape
        end, which = ended(model, output)
        self.whole = Whole(model, inputs, end)
        self.model = self.whole.model
        self.freeze().to(self.device)
        self._classes = None if classes is None else class_names(classes)
        image = self._drawn()
        self._tell(self._unchanged(image), which)
        if layer is None:
            self._grid: Grid | JoinedGrid
            self.upper, self._grid = last_layer(self.whole, self.answer, image, target=self.target_index)
        else:
            self.upper = Cut(self.whole, _names(layer), image)
            require_separation(self.upper, image[1:], self.answer)
            self._grid = self._grid_at(self.upper)
        self.lower = self.upper if map is None else Cut(self.whole, _names(map), image)
        if self.lower is not self.upper:
            self._require_below(image[1:])
        self._view = self._grid_at(self.lower)
        self.layers_read = self.upper.names
        self.map_shape, self.feature_shape = self._view.shape, self.upper.shape
        self._separated = [self._ends]  # outputs with which the swap test was passed
        self._tried: list[tuple[ConceptKind, Any]] = []  # concepts and outputs with which it was, on real images

    def with_output(self, output: Output) -> "Network":
        """The same network, of which another output is explained; its layers and what is recorded of them are shared.

        That they are a function of the layer's value is not tested again where it was of all outputs.

        Args:
            output: As :class:`Network` takes it.

        Raises:
            Trouble: If there is no such output, or the layer does not separate it.

        Example:
            >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
            >>> net = Network(model, layer="1", output="dog", classes=["cat", "dog"], transform={"size": [3, 8, 8]})
            >>> other = net.with_output(["cat", "-dog"])
            >>> other.target_name, net.target_name, other.model is net.model
            ('cat - dog', 'dog', True)
        """
        other = copy.copy(self)
        for of_this_output in ("target_index", "concept_names", "gradients"):
            vars(other).pop(of_this_output, None)
        end, which = ended(self.model, output)
        image = self._drawn()
        other.whole = Whole(self.model, self.whole.inputs, end)
        if other.whole.end == self.whole.end:
            other.whole = self.whole
        else:
            other.upper = Cut(other.whole, self.upper.names, image)
            other.lower = other.upper if self.lower is self.upper else Cut(other.whole, self.lower.names, image)
        with torch.inference_mode(False), torch.no_grad():
            other._tell(other.whole(image[:1]), which)
        if not other._passed(self._separated):
            require_separation(other.upper, image[1:], other.answer)
            other._separated = [*self._separated, other._ends]
        return other

    @property
    def framing(self) -> Framing:
        """How pictures are brought to the network."""
        return self._framing

    # -- what a performer gives --------------------------------------------------------------------------------------

    def encode(self, image: Tensor) -> Tensor:
        """The value ``(B, ...)`` of the layer that the explainer sees, for stored pixels ``(B, C, H, W)``."""
        if image.shape[1:] != self.image_shape:
            raise Trouble(f"expected images {('B', *self.image_shape)}, got {tuple(image.shape)}.")
        pixels = self.pixels(image)
        if not self._passed([ends for kind, ends in self._tried if kind is self.kind]):
            self._try(image, pixels)
        return self.lower.read(pixels)

    def feature(self, feature_map: Tensor) -> Tensor:
        """``x``, the value ``(B, ...)`` of the layer where concepts are read."""
        return feature_map if self.lower is self.upper else self.lower.replay_to(self.upper, feature_map)

    def outputs(self, feature: Tensor) -> Tensor:
        """The outputs ``(B, K)`` of ``x``, float32."""
        return self.answer(self.upper.replay(feature))

    def view(self, feature_map: Tensor) -> Tensor:
        """The cells of the feature map ``(B, C, h, w)``: tokens at their places, without those that have none."""
        return self._view.seen(feature_map)

    def hidden(self, feature: Tensor) -> Tensor:
        """The mean over the cells of ``x`` ``(B, C)``, and tokens that have no place: what most heads read."""
        return torch.cat([self.grid(feature).mean((2, 3)), self._grid.rest(feature)], 1)

    def grid(self, feature: Tensor) -> Tensor:
        """The cells of ``x`` ``(B, C, h, w)``."""
        return self._grid.seen(feature)

    def with_grid(self, feature: Tensor, grid: Tensor) -> Tensor:
        """``x`` with other cells; tokens that have no place stay as they are."""
        return self._grid.put(feature, grid)

    def perform(
        self, feature_map: Tensor, prior: Prior | None = None, columns: Sequence[int] | None = None
    ) -> tuple[Performance, Tensor | None]:
        """See :meth:`Performer.perform`; refused with a prior if the network has no gradients."""
        if prior is not None and not self._has_gradients:
            raise Trouble(
                f"no gradient of the score can be taken at {' and '.join(self.layers_read)}, so there is no prior: "
                "is the network quantised, does it switch gradients off, or write in place what they need?"
            )
        return super().perform(feature_map, prior, columns)

    # -- what it is, for caches and checkpoints ----------------------------------------------------------------------

    def digest(self, *modules: nn.Module) -> str:
        """SHA-256 of all parameters and buffers, also of those that a state dict leaves out."""
        if modules:
            return super().digest(*modules)
        return weights_digest(self.state_dict(), dict(self.named_buffers()))

    @property
    def encode_variant(self) -> str:
        """The network's source and structure, the size of its images, its inputs, and the layer of the map."""
        source = source_digest(self.model)
        return f"{type(self).__qualname__} {source} {self._pictures} {self._inputs} {list(self.lower.names)}"

    @property
    def head_variant(self) -> str:
        """The same, with the layers where concepts are read and how outputs are made of what the network returns."""
        ends = f"{list(self.upper.names)} {self.whole.end} {self.answer.variant}"
        return f"{self.encode_variant} {ends}"

    # -- what is asked of it -----------------------------------------------------------------------------------------

    def layers(self) -> Layers:
        """Where it may be cut, as a table, see :func:`~semexplain.performers.layers.layers_of`."""
        return layers_of(self.whole, self.answer, self._drawn(), target=self.target_index)

    def check(self, images: Tensor, labels: Tensor | None = None) -> Checks:
        """Whether it can be explained rightly, as a table, see :func:`~semexplain.performers.checks.checked`.

        Args:
            images: Stored pixels ``(N, C, H, W)``; 9 or more are best.
            labels: ``(N,)``, which of the outputs is right for each.

        Raises:
            Trouble: If it cannot, with the reason and the remedy.
        """
        return checked(self, images, labels)

    # -- trials ------------------------------------------------------------------------------------------------------

    def _tell(self, returned: Any, which: Chosen) -> None:
        """Explain one of the outputs that are in what the network returned."""
        own = own_class_names(self.model) if self.whole.end is None else None
        self.answer = answer_for(returned, which, own if self._classes is None else self._classes)
        self.target_name, self.output_names = self.answer.target, self.answer.names

    def _drawn(self) -> Tensor:
        """Images of coarse and fine noise, as the network expects them."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(TRIED, self.image_shape[0], 4, 4, generator=generator)
        coarse = nn.functional.interpolate(coarse, self.image_shape[1:], mode="bilinear")
        noise = torch.rand(coarse.shape, generator=generator)
        return self.pixels(self.pixels.stored(0.7 * coarse + 0.3 * noise).to(self.device))

    def _unchanged(self, image: Tensor) -> Any:
        """What the network returns, which must leave its state as it is."""
        before = state_digest(self.model)
        with torch.inference_mode(False), torch.no_grad():
            try:
                returned = self.whole(image)
            except Trouble:
                raise
            except (RuntimeError, TypeError, ValueError) as error:
                raise Trouble(
                    f"the network cannot be run on images {tuple(image.shape)}: {str(error).splitlines()[0]} "
                    "Mend `transform`, or give what else it needs by `inputs`."
                ) from error
        if state_digest(self.model) != before:
            raise Trouble(
                "a forward pass changes the network's parameters or buffers, though it is in evaluation mode: its "
                "answers depend on what it has seen before. Switch that off."
            )
        return returned

    def _require_below(self, image: Tensor) -> None:
        """The map has to determine x."""
        names = " and ".join(self.lower.names)
        try:
            with torch.inference_mode(False), torch.no_grad():
                expected, found = self.upper.read(image), self.feature(self.lower.read(image))
                same = torch.equal(expected, found)
        except (Trouble, RuntimeError, AssertionError):
            same = False
        if not same:
            raise Trouble(
                f"map: {names} does not determine {' and '.join(self.upper.names)}: it lies above, or beside something "
                "that goes past it. Choose a module below that all goes through, or leave `map` out."
            )

    def _try(self, image: Tensor, pixels: Tensor) -> None:
        """The swap test on the first real images, and whether concepts can be read of them."""
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
            pixels = pixels[:FIRST].clone()
            if bool((pixels == pixels[..., :1, :1]).all()):  # a blank image, which others ask shapes of
                return
            fault = swap_fault(self.upper, pixels, self.answer)
            if fault is None and self.lower is not self.upper:
                self._require_below(pixels)
            if fault is None:
                self.kind.require_feature(self.feature(self.lower.read(pixels)), image[:FIRST])
        if fault is not None:
            raise Trouble(f"{' and '.join(self.layers_read)} does not separate the network on these images: {fault}.")
        self._tried.append((self.kind, self._ends))

    @property
    def _ends(self) -> tuple[str | None, Any, Any]:
        """Which outputs are tested: those of which module, and which function or difference of them."""
        return self.whole.end, self.answer.function, self.answer.signs

    def _passed(self, tests: Sequence[Any]) -> bool:
        """Whether the swap test was passed with these outputs, or with all of which they are a difference."""
        return self._ends in tests or (self.answer.function is None and (self.whole.end, None, ()) in tests)

    @property
    def _has_gradients(self) -> bool:
        if "gradients" not in vars(self):
            vars(self)["gradients"] = slope(self.upper, self.answer, self._drawn()[:1], self.target_index) is not None
        return bool(vars(self)["gradients"])

    @property
    def _pictures(self) -> str:
        function = function_digest(self.framing.function) if callable(self.framing.function) else ""
        return f"{self.image_shape} {self.framing.options} {function}"

    @property
    def _inputs(self) -> str:
        inputs = self.whole.inputs
        if callable(inputs):
            return function_digest(inputs)
        values = weights_digest({str(at): value for at, value in enumerate(tensors(dict(inputs)))})
        return f"{sorted(inputs)} {values} {_plain(inputs)}"

    def _grid_at(self, cut: Cut) -> Grid | JoinedGrid:
        image = self.image_shape[1:]
        return grid_of(cut.shape, image) if len(cut.shapes) == 1 else JoinedGrid(cut.shapes, image)

    def _empty_map(self) -> Tensor:
        return torch.zeros(1, *self.lower.shape, device=self.device)


def source_digest(model: nn.Module) -> str:
    """Of what a network computes beside its weights: the source of its modules, their options and their order."""
    sha = hashlib.sha256(repr(model).encode())
    for kind in sorted({type(module) for module in model.modules()}, key=lambda kind: kind.__qualname__):
        sha.update(_source(kind))  # type: ignore[arg-type]  # classes can be hashed
    sha.update(str(getattr(model, "code", "")).encode())
    return sha.hexdigest()[:16]


@lru_cache(1024)
def _source(kind: type[nn.Module]) -> bytes:
    """Of a class; finding it parses the whole file, and every address in a cache asks for it."""
    try:
        return inspect.getsource(kind).encode()
    except (OSError, TypeError):  # made while the program ran
        return kind.__qualname__.encode()


def _plain(inputs: Mapping[str, Any]) -> str:
    return str({name: value for name, value in inputs.items() if not any(True for _ in tensors(value))})


def _names(layer: str | Sequence[str]) -> list[str]:
    return [layer] if isinstance(layer, str) else list(layer)
