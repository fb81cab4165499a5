"""The whole network as a function of its images."""

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.performers.cut.calls import Call, found_name, intercepted, module_names, numbered, unwrapped
from semexplain.performers.cut.structure import replaced
from semexplain.system.trouble import Trouble

Inputs = Mapping[str, Any] | Callable[[Tensor], Mapping[str, Any]]
CHANNEL = "channel"  # an input that is a channel of the images
HALF = (torch.float16, torch.bfloat16)


class Reached(BaseException):
    """A forward pass has come as far as it had to; no network catches it as an error."""


class Whole:
    """A network as a function of images. What ``torch.compile`` has compiled runs uncompiled.

    Args:
        model: Any network in evaluation mode.
        inputs: What it needs beside the images, by keyword. A tensor whose first dimension is 1 is expanded to the
            batch; ``{"channel": 3}`` is a number for each image, that of its first pixel in channel 3, which the
            network does not get as pixels then, and ``{"channel": [3, 4]}`` two of them ``(B, 2)``; anything else is
            passed on as it is. Or a function from the images ``(B, C, H, W)``, as the network gets them, to these
            keywords.
        end: A module whose first output is what is returned, where the pass ends; what the network returns by default.

    Raises:
        Trouble: If a network cannot be cut: it is scripted, or computes in double precision.
    """

    def __init__(self, model: nn.Module, inputs: Inputs | None = None, end: str | None = None) -> None:
        self.model = _cuttable(unwrapped(model))
        self.inputs = inputs or {}
        self.names = module_names(self.model)
        self.dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        if self.dtype not in (torch.float32, *HALF):
            raise Trouble(f"expected weights in single or half precision, got {self.dtype}: use `model.float()`.")
        self.end = None if end is None else found_name(self.names, self.model, end)
        parameters = inspect.signature(self.model.forward).parameters
        self.by_name = next(iter(parameters), "") != "pixel_values" and "pixel_values" in parameters
        self.compiled = any(_compiled(module) for module in self.model.modules())

    def __call__(self, image: Tensor, *, copy: bool = True) -> Any:
        """What the network returns.

        Args:
            image: Images ``(B, C, H, W)``, as it expects them.
            copy: Give it a copy of them, into which it may write.
        """
        image = image.to(self.dtype, copy=copy)

        def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
            raise _Ended(forward(*arguments, **keywords))

        if self.end is None:
            return self.run(image)
        with intercepted({self.end: self.names[self.end]}, answer):
            try:
                self.run(image)
            except _Ended as end:
                return end.value
        raise Trouble(f"output: the network ends without a call of {self.end!r}.")

    def run(self, image: Tensor) -> Any:
        """One forward pass to its very end, in evaluation mode, whatever somebody else has switched since."""
        if self.model.training:
            self.model.eval()
        inputs = self.inputs(image) if callable(self.inputs) else self.inputs
        taken = {name: value[CHANNEL] for name, value in inputs.items() if _is_channel(value)}
        keywords = {name: self._expanded(value, image) for name, value in inputs.items() if name not in taken}
        if taken:
            pixels = _others(image.shape[1], taken)
            keywords |= {name: image[:, channel, 0, 0] for name, channel in taken.items()}
            image = image[:, pixels]
        with torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext():
            if self.by_name:
                return self.model(pixel_values=image, **keywords)
            return self.model(image, **keywords)

    def resolved(self, layer: str, counts: Counter[str]) -> Call:
        """The call that a name stands for, see :func:`~semexplain.performers.cut.calls.numbered`."""
        call = Call.parse(layer)
        return numbered(call._replace(name=found_name(self.names, self.model, call.name)), counts)

    def _expanded(self, value: Any, image: Tensor) -> Any:
        def expanded(tensor: Tensor) -> Tensor:
            tensor = tensor.to(image.device, image.dtype if tensor.is_floating_point() else None)
            return tensor.expand(len(image), *tensor.shape[1:]) if tensor.ndim and len(tensor) == 1 else tensor

        return replaced(value, expanded)


def _is_channel(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {CHANNEL}


def _others(count: int, taken: Mapping[str, int | list[int]]) -> list[int]:
    """Channels that are pixels.

    Raises:
        Trouble: If there is no such channel, or only such.
    """
    channels = [c for some in taken.values() for c in ([some] if isinstance(some, int) else some)]
    others = [at for at in range(count) if at not in channels]
    if not others or not set(channels) < set(range(count)):
        raise Trouble(
            f"inputs: {next(iter(taken))} and its like are channels {sorted(channels)}, images have {count} (from 0 "
            "on): say in `transform`'s size how many there are with them, and name some of these."
        )
    return others


class _Ended(Reached):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def _cuttable(model: nn.Module) -> nn.Module:
    if isinstance(model, torch.jit.ScriptModule):
        raise Trouble("a scripted network cannot be cut: give the Python module that it was scripted from.")
    return model


def _compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None
