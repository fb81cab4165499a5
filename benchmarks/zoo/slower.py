"""A second, slower way to a score and its gradient at a layer: hooks, and the whole forward pass every time.

It shares nothing with ``semexplain.performers.cut``: PyTorch's own hooks, no stubs, nothing recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

Value = Callable[[int, Tensor], Tensor]  # from a layer's place among the layers, and its value


class Ways:
    """A frozen network run as a whole, with hooks at some calls of its modules.

    Args:
        model: The network.
        layers: Such as ``layer4``, or ``act:2`` for the second call.
        output: What the score is, as the zoo says it.
        inputs: What the network needs beside the images.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], output: Any, inputs: Mapping[str, Any]) -> None:
        self.model, self.output, self.inputs = model, output, inputs
        self.layers = [(name, int(number or 1)) for name, _, number in (layer.partition(":") for layer in layers)]

    def scored(self, image: Tensor, change: Value = lambda _, value: value) -> tuple[Tensor, list[Tensor]]:
        """The scores ``(B,)`` where each layer's value is changed, and the changed values, in the layers' order."""
        values: dict[int, Tensor] = {}
        with ExitStack() as hooks:
            for place, (name, number) in enumerate(self.layers):
                hook = _changing(place, number, change, values)
                hooks.callback(self.model.get_submodule(name).register_forward_hook(hook).remove)
            score = self._score(image)
        return score, [values[place] for place in range(len(self.layers))]

    def given(self, image: Tensor, values: Sequence[Tensor]) -> Tensor:
        """The scores ``(B,)`` of images where the layers return what is given."""
        return self.scored(image, lambda place, _: values[place])[0]

    def sloped(self, image: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Scores, the layers' values and the gradients of the scores there."""
        leaves: dict[int, Tensor] = {}

        def cut(place: int, value: Tensor) -> Tensor:
            leaves[place] = value.detach().clone().requires_grad_()
            return leaves[place].clone()

        with torch.enable_grad():
            score, _ = self.scored(image, cut)
            ordered = [leaves[place] for place in range(len(self.layers))]
            gradients = torch.autograd.grad(score.sum(), ordered)
        return score.detach(), [leaf.detach() for leaf in ordered], list(gradients)

    def _score(self, image: Tensor) -> Tensor:
        ends: list[Tensor] = []
        inputs = {
            name: value.expand(len(image), *value.shape[1:]) if isinstance(value, Tensor) else value
            for name, value in self.inputs.items()
        }
        column = 0 if self.output is None else self.output
        with ExitStack() as hooks:
            if isinstance(self.output, list):
                end, column = self.output
                kept = self.model.get_submodule(end).register_forward_hook(lambda *said: ends.append(first(said[2])))
                hooks.callback(kept.remove)
            returned = self.model(image.clone(), **inputs)
        if callable(self.output):
            score: Tensor = self.output(returned)
            return score
        outputs = ends[-1] if ends else _outputs(returned)
        return outputs if outputs.ndim == 1 else outputs[:, column]


def first(returned: Any) -> Tensor:
    """The first tensor of what a module returns."""
    if isinstance(returned, Tensor):
        return returned
    items = returned.values() if isinstance(returned, Mapping) else returned
    return next(item for item in items if isinstance(item, Tensor))


def together(values: Sequence[Tensor], images: int) -> Tensor:
    """Values of layers as a network has them: its images first, several layers flattened and joined."""
    moved = [value if len(value) == images else value.transpose(0, 1) for value in values]
    return moved[0] if len(moved) == 1 else torch.cat([value.flatten(1) for value in moved], 1)


def _outputs(returned: Any) -> Tensor:
    if isinstance(returned, Mapping):
        return returned["logits"]
    return first(returned)


def _changing(place: int, number: int, change: Value, values: dict[int, Tensor]) -> Callable[..., Any]:
    calls = [0]

    def hook(module: nn.Module, arguments: Any, returned: Any) -> Any:
        del module, arguments
        calls[0] += 1
        if calls[0] != number:
            return None
        before = first(returned)
        after = values[place] = change(place, before)
        if isinstance(returned, Tensor):
            return after
        if isinstance(returned, Mapping):
            other: Any = type(returned)(returned)
            other[next(key for key, value in returned.items() if value is before)] = after
            return other
        items = [after if item is before else item for item in returned]
        return type(returned)(*items) if hasattr(returned, "_fields") else type(returned)(items)

    return hook
