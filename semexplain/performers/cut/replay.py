"""Recording of a forward pass, and its replay with the values of some layers given."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semexplain.performers.cut.calls import LOCK, Call, intercepted
from semexplain.performers.cut.structure import replaced, tensors
from semexplain.performers.cut.whole import Reached, Whole
from semexplain.system.trouble import Trouble

Grows = list[int | None]  # of each tensor: the dimension that grows with the number of images, None if none does


@dataclass
class Stub:
    """What a module said of one image, to be said again of any number of them.

    Attributes:
        value: What it returned.
        inside: How often each module is called inside it.
        grows: Of each tensor of ``value``.
        orders: Of the dimensions of each tensor in memory, the slowest first.
        written: Whether the network goes on to write into it: then every replay gets its own copy.
    """

    value: Any
    inside: Counter[str]
    grows: Grows = field(default_factory=list)
    orders: list[tuple[int, ...]] = field(default_factory=list)
    written: bool = False

    def of(self, batch: int) -> Any:
        """For that many images."""
        grows = iter(self.grows)
        return replaced(self.value, lambda tensor: self._repeated(tensor, next(grows), batch))

    def _repeated(self, tensor: Tensor, along: int | None, batch: int) -> Tensor:
        if along is None:
            return tensor.clone() if self.written else tensor
        if tensor.shape[along] != 1:  # windows of images
            return torch.cat([tensor] * batch, along)
        expanded = tensor.expand(*tensor.shape[:along], batch, *tensor.shape[along + 1 :])
        return expanded.clone() if self.written else expanded

    @property
    def versions(self) -> list[int]:
        """How often each tensor has been written into."""
        return [tensor._version for tensor in tensors(self.value)]


class Place(NamedTuple):
    """Where in what a layer returns its value is: the first tensor of numbers that has a row for each image.

    Attributes:
        at: Which of the tensors.
        along: The dimension of the images.
        shape: Of the value of one image, without the dimension of the images.
        dtype: In which the network computes it.
        order: Of its dimensions in memory, the slowest first: kernels choose by it, and their last digits differ.
    """

    at: int
    along: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...]

    @classmethod
    def within(cls, stub: Stub) -> "Place":
        """The place in what a layer said of one image.

        Raises:
            Trouble: If it has none.
        """
        for at, (tensor, along) in enumerate(zip(tensors(stub.value), stub.grows, strict=True)):
            if along is not None and tensor.is_floating_point() and tensor.shape[along] == 1:
                shape = (*tensor.shape[:along], *tensor.shape[along + 1 :])
                return cls(at, along, shape, tensor.dtype, stub.orders[at])
        if any(tensor.is_quantized for tensor in tensors(stub.value)):
            raise Trouble(
                "its output is quantised: choose a layer whose output is not, or the network in floating point."
            )
        shapes = [tuple(tensor.shape) for tensor in tensors(stub.value)]
        raise Trouble(f"its output {shapes or 'without a tensor'} has no row for each image: choose another layer.")

    def taken(self, returned: Any) -> Tensor:
        """The value ``(B, ...)``, float32."""
        return list(tensors(returned))[self.at].movedim(self.along, 0).float()

    def held(self, returned: Any) -> Any:
        """What the layer returned, of which the value is a constant: a copy without a gradient."""
        at = iter(range(len(list(tensors(returned)))))
        return replaced(returned, lambda tensor: tensor.detach().clone() if next(at) == self.at else tensor)

    def put(self, stub: Stub, value: Tensor) -> Any:
        """What the layer returns when it has this value, ``(B, ...)``: a copy, which the network may write into."""
        given = value.to(self.dtype).movedim(0, self.along).permute(self.order)
        given = given.clone(memory_format=torch.contiguous_format).permute(*map(self.order.index, range(value.ndim)))
        at = iter(range(len(stub.grows)))
        return replaced(stub.of(len(value)), lambda tensor: given if next(at) == self.at else tensor)


def _order(tensor: Tensor) -> tuple[int, ...]:
    return tuple(sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


@dataclass
class Recording:
    """A forward pass with one image, as far as to the last of some layers.

    Attributes:
        image: The image ``(1, C, H, W)``.
        stubs: The top-most calls that had ended before the first layer did.
        layers: The layers.
    """

    image: Stub
    stubs: dict[Call, Stub]
    layers: dict[Call, Stub]


def counted(whole: Whole, image: Tensor) -> Counter[str]:
    """How often each module is called in a forward pass with images ``(B, C, H, W)``."""
    counts: Counter[str] = Counter()

    def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        counts[name] += 1
        return forward(*arguments, **keywords)

    with _computing(), intercepted(whole.names, answer):
        whole(image)
    return counts


def recorded(whole: Whole, image: Tensor, layers: Collection[Call]) -> Recording:
    """Run the network with one image and with two, and keep what replays need of the pass with one.

    Raises:
        Trouble: If layers lie inside one another, or a module returns something that does not grow evenly with the
            number of images.
    """
    record = _pass(whole, image[:1], layers)
    twice = _pass(whole, image[:1].repeat(2, *[1] * (image.ndim - 1)), layers)
    record.image.grows = [0]
    for ones, twos in ((record.stubs, twice.stubs), (record.layers, twice.layers)):
        for call, stub in ones.items():
            if call not in twos:
                raise Trouble(f"{call} is called for one image, but not for two.")
            pairs = zip(tensors(stub.value), tensors(twos[call].value), strict=True)
            stub.grows = [_growing(call, one, two) for one, two in pairs]
            stub.orders = [_order(two) for two in tensors(twos[call].value)]
    return record


def _growing(call: Call, one: Tensor, two: Tensor) -> int | None:
    differ = [at for at, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
    if not differ:
        return None
    if len(differ) > 1 or two.shape[differ[0]] != 2 * one.shape[differ[0]]:
        raise Trouble(
            f"{call} returns {tuple(one.shape)} for one image and {tuple(two.shape)} for two: it cannot be told which "
            "part belongs to which image."
        )
    return differ[0]


def _pass(whole: Whole, image: Tensor, layers: Collection[Call]) -> Recording:
    counts: Counter[str] = Counter()
    calls: list[str] = []
    done: list[tuple[Call, Stub]] = []
    found: dict[Call, Stub] = {}

    def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        counts[name] += 1
        call = Call(name, counts[name])
        calls.append(name)
        first_call, first_done = len(calls), len(done)
        value = forward(*arguments, **keywords)
        stub = Stub(None, Counter(calls[first_call:]))
        if call in layers:
            if found and any(other.name in stub.inside for other in found):
                raise Trouble(f"the layers {[str(layer) for layer in layers]} lie inside one another: give one.")
            del done[first_done:]
            stub.value = replaced(value, Tensor.clone)
            found[call] = stub
            if len(found) == len(layers):
                raise Reached
        elif not found:
            del done[first_done:]
            stub.value = replaced(value, Tensor.clone)
            done.append((call, stub))
        return value

    with _computing(), intercepted(whole.names, answer):
        try:
            whole(image)
        except Reached:
            return Recording(Stub(image.clone(), Counter()), dict(done), found)
    raise Trouble(f"the network ends without a call of {[str(c) for c in layers if c not in found]}.")


def replayed(
    whole: Whole,
    image: Tensor,
    answers: Mapping[Call, tuple[Counter[str], Callable[[], Any]]],
    wanted: Collection[Call] = (),
) -> Any:
    """A forward pass in which some calls are answered without being made.

    Args:
        whole: The network.
        image: Its images.
        answers: What is inside each such call, and its answer.
        wanted: Calls whose outputs are returned, by call: the pass ends with the last of them. Without any, what the
            whole network returns.
    """
    counts: Counter[str] = Counter()
    found: dict[Call, Any] = {}

    def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        counts[name] += 1
        call = Call(name, counts[name])
        if call in answers:
            inside, given = answers[call]
            counts.update(inside)
            value = given()
        else:
            value = forward(*arguments, **keywords)
        if call in wanted:
            found[call] = replaced(value, Tensor.clone)
            if len(found) == len(wanted):
                raise Reached
        return value

    modules = {call.name: whole.names[call.name] for call in (*answers, *wanted)}
    with LOCK, intercepted(modules, answer):
        try:
            returned = whole(image, copy=not answers)
        except Reached:
            if wanted and len(found) == len(wanted):
                return found
            raise
    if wanted:
        raise Trouble(f"the network ends without a call of {[str(c) for c in wanted if c not in found]}.")
    return returned


@contextmanager
def _computing() -> Iterator[None]:
    """Outside inference mode and without gradients."""
    with torch.inference_mode(False), torch.no_grad():
        yield
