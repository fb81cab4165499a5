"""A network cut at some of its layers: below it is run up to them, above it is replayed from their values."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from semexplain.performers.cut.calls import LOCK, Call, intercepted
from semexplain.performers.cut.replay import Place, Recording, Stub, counted, recorded, replayed
from semexplain.performers.cut.structure import replaced, tensors
from semexplain.performers.cut.whole import Whole
from semexplain.system.trouble import Trouble


class Cut:
    """A frozen network cut at one or several calls of its modules.

    :meth:`read` runs it up to the layers and stops. :meth:`replay` runs it from their values on: the whole forward
    pass is made, but each layer returns the value that it is given, and every top-most module that ended before the
    (first) layer says again what it said of one image, so that it costs nothing. That is right where the network is a
    function of the layers' values alone, which :func:`~semexplain.performers.cut.swap.swap_fault` tests.

    Args:
        whole: The network.
        layers: Dotted names of modules, such as ``layer4`` or ``act:2`` for the second call of one that is used again.
        image: Images as the network expects them ``(B, C, H, W)``, of which the first is recorded.
        counts: How often each module is called, if that is known.

    Attributes:
        layers: The calls.
        recorded_image: ``(1, C, H, W)``.
        shapes: Of the layers' values of one image.
        shape: Of the value of one image. Values of several layers are flattened and joined.

    Raises:
        Trouble: If a layer is not a module, not called, called more than once without a number, or returns nothing
            that has a row for each image.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
        >>> x = torch.eye(3)
        >>> cut = Cut(Whole(network), ["1"], x)
        >>> torch.equal(cut.replay(cut.read(x)), network(x))
        True
    """

    def __init__(self, whole: Whole, layers: Sequence[str], image: Tensor, counts: Counter[str] | None = None) -> None:
        self.whole = whole
        counts = counted(whole, image[:1]) if counts is None else counts
        self.layers: tuple[Call, ...] = tuple(dict.fromkeys(whole.resolved(layer, counts) for layer in layers))
        if not self.layers:
            raise Trouble("expected the names of one or several layers, got none.")
        self._counts = counts
        self.names = tuple(map(self._name, self.layers))
        self.recorded_image = image[:1].detach().clone()
        self._records: dict[torch.device, Recording] = {}
        record = recorded(whole, self.recorded_image, self.layers)
        self.places = {call: _place(call, record.layers[call]) for call in self.layers}
        self.shapes = [self.places[call].shape for call in self.layers]
        self.shape = self.shapes[0] if len(self.layers) == 1 else (sum(map(_size, self.shapes)),)
        self._records[image.device] = self._marked(record)

    def read(self, image: Tensor) -> Tensor:
        """The layers' value ``(B, ...)`` for images ``(B, C, H, W)``, float32; what lies above is not run."""
        found = replayed(self.whole, image, {}, self.layers)
        return self._joined([self.places[call].taken(found[call]) for call in self.layers])

    def replay(self, value: Tensor) -> Any:
        """What the network returns where the layers have a value ``(B, ...)``, differentiable with respect to it."""
        return self._replayed(self._recording(value.device), value)

    def replay_to(self, upper: "Cut", value: Tensor) -> Tensor:
        """The value of the layers of another cut, further up, where those of this one have a value."""
        found = self._replayed(self._recording(value.device), value, upper.layers)
        return upper._joined([upper.places[call].taken(found[call]) for call in upper.layers])

    def past(self, image: Tensor) -> Any:
        """What the network returns for images while the layers' values are held: as a function of all that goes past.

        It equals what the network returns. Its gradient with respect to the images is 0 if nothing goes past.
        """
        counts: Counter[str] = Counter()

        def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
            counts[name] += 1
            returned = forward(*arguments, **keywords)
            place = self.places.get(Call(name, counts[name]))
            return returned if place is None else place.held(returned)

        with LOCK, intercepted({call.name: self.whole.names[call.name] for call in self.layers}, answer):
            return self.whole(image)

    def crossings(self, outputs: Callable[[Any], Tensor]) -> list[str]:
        """What goes past the layers: calls that ended before the first of them, and on which outputs still depend.

        It only names them; whether a network is separated is asked of :meth:`past`. What a call says may be the same
        for all images, such as a table of positions, and go past without harm.

        Together with them the layers separate a network into which the image itself does not go past.

        Args:
            outputs: From what the network returns to its outputs ``(B, K)``.

        Example:
            >>> from torch import nn
            >>> class Skip(nn.Module):
            ...     def __init__(self):
            ...         super().__init__()
            ...         self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
            ...     def forward(self, x):
            ...         x = self.one(x)
            ...         return x + self.two(x)
            >>> Cut(Whole(Skip().eval()), ["two"], torch.eye(3)).crossings(lambda returned: returned)
            ['one']
        """
        record = self._recording(self.recorded_image.device)
        with torch.inference_mode(False), torch.enable_grad():
            stubs = {call: replace(stub, value=replaced(stub.value, _leaf)) for call, stub in record.stubs.items()}
            values = [self.places[call].taken(record.layers[call].value) for call in self.layers]
            said = outputs(self._replayed(Recording(record.image, stubs, record.layers), self._joined(values)))
            leaves = [
                (call, leaf) for call, stub in stubs.items() for leaf in tensors(stub.value) if leaf.requires_grad
            ]
            if not leaves or not said.requires_grad:
                return []
            slopes = torch.autograd.grad(said.sum(), [leaf for _, leaf in leaves], allow_unused=True)
        found = [call for (call, _), slope in zip(leaves, slopes, strict=True) if slope is not None]
        return [self._name(call) for call in dict.fromkeys(found)]

    @property
    def partial(self) -> bool:
        """Whether a layer says more of an image than its value: further tensors with a row for each."""
        stubs = next(iter(self._records.values())).layers.values()
        return any(sum(along is not None for along in stub.grows) > 1 for stub in stubs)

    def _name(self, call: Call) -> str:
        return str(call) if self._counts[call.name] > 1 else call.name

    def _replayed(self, record: Recording, value: Tensor, wanted: Collection[Call] = ()) -> Any:
        answers = {call: (stub.inside, partial(stub.of, len(value))) for call, stub in record.stubs.items()}
        for call, part in zip(self.layers, self._parts(value), strict=True):
            stub = record.layers[call]
            answers[call] = stub.inside, partial(self.places[call].put, stub, part)
        return replayed(self.whole, record.image.of(len(value)), answers, wanted)

    def _recording(self, device: torch.device) -> Recording:
        """The recording on a device; made again where the network has moved to another."""
        if device not in self._records:
            self.recorded_image = self.recorded_image.to(device)
            self._records = {device: self._marked(recorded(self.whole, self.recorded_image, self.layers))}
        return self._records[device]

    def _marked(self, record: Recording) -> Recording:
        """The recording with those stubs marked into which the network writes, which a replay of one image tells."""
        stubs = [record.image, *record.stubs.values(), *record.layers.values()]
        before = [stub.versions for stub in stubs]
        with torch.inference_mode(False), torch.no_grad():
            self._replayed(record, self._joined([self.places[c].taken(record.layers[c].value) for c in self.layers]))
        for stub, versions in zip(stubs, before, strict=True):
            stub.written = stub.versions != versions
        return record

    def _joined(self, values: list[Tensor]) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat([value.flatten(1) for value in values], 1)

    def _parts(self, value: Tensor) -> list[Tensor]:
        if len(self.layers) == 1:
            return [value]
        parts = value.split([_size(shape) for shape in self.shapes], 1)
        return [part.unflatten(1, shape or (1,)) for part, shape in zip(parts, self.shapes, strict=True)]


def _place(call: Call, stub: Stub) -> Place:
    try:
        return Place.within(stub)
    except ValueError as error:
        raise Trouble(f"{call.name}: {error}") from None


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()
