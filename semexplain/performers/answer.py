"""From what a network returns to its outputs, their names, and the one that is the score."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from semexplain.data.text_files import first_few
from semexplain.performers.cut.calls import module_names
from semexplain.performers.cut.structure import tensors
from semexplain.system.config import suggest
from semexplain.system.trouble import Trouble

KEYS = ("logits", "out", "output", "outputs", "scores", "prediction", "predictions")  # of dicts and model outputs
Which = int | str
Scorer = Callable[[Any], Tensor]
Chosen = Which | Sequence[Which] | Scorer | None
Output = Chosen | Sequence[Which | Sequence[Which]]


@dataclass(frozen=True)
class Answer:
    """What is told of a network: its outputs ``(B, K)``.

    Attributes:
        names: Of the outputs.
        target: The name of the score.
        indices: Of what :func:`outputs_of` finds, the columns that are told.
        signs: Of each column of it, its factor in a difference, which is the score and the last output; empty: the
            score is one of the columns.
        function: What makes the score of what the network returns, in place of all that.
    """

    names: tuple[str, ...]
    target: str
    indices: tuple[int, ...] = ()
    signs: tuple[tuple[int, float], ...] = ()
    function: Callable[[Any], Tensor] | None = None

    def __call__(self, returned: Any) -> Tensor:
        """The outputs ``(B, K)``, float32, of what the network returned."""
        if self.function is not None:
            return scores_of(self.function(returned))
        outputs = outputs_of(returned).float()
        if not self.signs:
            return outputs
        difference = sum(factor * outputs[:, at] for at, factor in self.signs)
        assert isinstance(difference, Tensor)
        return torch.cat([outputs[:, list(self.indices)], difference[:, None]], 1)

    @property
    def variant(self) -> str:
        """What outputs and score depend on, in words."""
        function = "" if self.function is None else function_digest(self.function)
        return f"{list(self.indices)} {list(self.signs)} {function}"


def outputs_of(returned: Any) -> Tensor:
    """The outputs ``(B, K)`` in what a network returned: a tensor, a tuple that begins with one, a dict or its like.

    Raises:
        Trouble: If it is not clear which tensor they are, or they are maps.

    Example:
        >>> outputs_of({"logits": torch.zeros(2, 3), "hidden": torch.zeros(2, 8)}).shape
        torch.Size([2, 3])
        >>> outputs_of((torch.zeros(4), None)).shape
        torch.Size([4, 1])
    """
    if isinstance(returned, Mapping):
        key = next((key for key in KEYS if key in returned), None)
        if key is None and len(returned) > 1:
            raise Trouble(
                f"the network returns {first_few(list(map(str, returned)))}: say which are its outputs, "
                f"`output=lambda returned: returned[{next(iter(returned))!r}][:, 0]`."
            )
        returned = returned[next(iter(returned)) if key is None else key]
    tensor = next(tensors(returned), None)
    if tensor is None:
        raise Trouble(f"the network returns {type(returned).__name__}, without a tensor: give `output` as a function.")
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor.flatten(1)
    if tensor.ndim == 1:
        tensor = tensor[:, None]
    if tensor.ndim != 2 or not tensor.is_floating_point():
        raise Trouble(
            f"expected outputs (B, K), the network returns {tuple(tensor.shape)} {tensor.dtype}: say what its score "
            "is, such as `output=lambda returned: returned[:, 3].mean((1, 2))` for the mean of a map."
        )
    return tensor


def scores_of(returned: Any) -> Tensor:
    """The only output ``(B, 1)``, float32, of a user's function.

    Raises:
        Trouble: If it is not one number for each image.
    """
    if (
        not isinstance(returned, Tensor)
        or returned.ndim not in (1, 2)
        or (returned.ndim == 2 and returned.shape[1] != 1)
    ):
        found = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
        raise Trouble(f"expected one number for each image, (B,), from the function `output`, got {found}.")
    return returned.float().view(-1, 1)


def ended(model: nn.Module, output: Output) -> tuple[str | None, Chosen]:
    """The module whose outputs are meant, if any, and which of them.

    Args:
        model: The network.
        output: A name that is a module's, or that and which of its outputs, or that and a difference of them.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Softmax(1))
        >>> ended(network, ["0", 2]), ended(network, "0"), ended(network, "cat")
        (('0', 2), ('0', None), (None, 'cat'))
        >>> ended(network, ["0", ["cat", "-dog"]])
        ('0', ['cat', '-dog'])

    Raises:
        Trouble: If a difference is asked for of something that is no module.
    """
    names = module_names(model)
    if output is None or isinstance(output, int) or callable(output):
        return None, output
    if isinstance(output, str):
        return (output, None) if output in names else (None, output)
    if len(output) == 2 and isinstance(output[0], str) and output[0] in names:
        return output[0], output[1]
    summands = [which for which in output if isinstance(which, int | str)]
    if len(summands) < len(output):
        raise Trouble(
            f"expected a difference of outputs such as [3, -5], or a module with which of its outputs are meant, such "
            f"as {[next(reversed(names), 'fc'), [3, -5]]}; got {list(output)}."
        )
    return None, summands


def answer_for(returned: Any, output: Chosen, classes: Sequence[str] | None) -> Answer:
    """The answer that ``output`` asks for, of a network that returns such things.

    Args:
        returned: What the network returned for some images.
        output: An index or a class's name; two or more, such as ``[3, -5]`` or ``["cat", "-dog"]``: their sum with
            these signs, a difference; a function from what the network returns to scores ``(B,)``. None for the only
            output of a regression.
        classes: Names of the outputs.

    Raises:
        Trouble: If there is no such output, or several and none is chosen.
    """
    if callable(output):
        scores_of(output(returned))
        name = getattr(output, "__name__", type(output).__name__)
        name = "output" if name == "<lambda>" else name
        return Answer((name,), name, function=output)
    count = outputs_of(returned).shape[1]
    names = _named(classes, count)
    if output is None:
        if count > 1:
            raise Trouble(f"the network has {count} outputs ({first_few(names)}): say which to explain, `output=0`.")
        output = 0
    if isinstance(output, int | str):
        return Answer(names, names[_index(output, names)], tuple(range(count)))
    if any(which == 0 and isinstance(which, int) for which in output[1:]):
        raise Trouble(f'expected signs, but 0 has none: write "-0" or "0" for output 0, got {list(output)}.')
    signs = [_signed(which, names) for which in output]
    if len({at for at, _ in signs}) != len(signs) or len(signs) < 2:
        raise Trouble(f"expected a difference of outputs such as [3, -5], got {list(output)}.")
    words = "".join(f"{' + ' if sign > 0 else ' - '}{names[at]}" for at, sign in signs)
    target = words.removeprefix(" + ").strip()
    others = tuple(at for at in range(count) if at not in dict(signs))
    return Answer((*(names[at] for at in others), target), target, others, tuple(signs))


def _index(which: Which, names: Sequence[str]) -> int:
    if isinstance(which, str):
        if which in names:
            return names.index(which)
        raise Trouble(f"there is no output {which!r}{suggest(which, names)}: expected one of {first_few(names)}.")
    if not -len(names) <= which < len(names) or isinstance(which, bool):
        raise Trouble(f"there is no output {which}: expected 0 to {len(names) - 1}, or a name.")
    return which % len(names)


def _signed(which: Which, names: Sequence[str]) -> tuple[int, float]:
    """Index and sign of a summand: ``-5`` and ``"-dog"`` are subtracted."""
    if isinstance(which, str) and which not in names and which.startswith("-"):
        rest = which[1:]
        return _index(int(rest) if rest.isdecimal() and rest not in names else rest, names), -1.0
    if isinstance(which, int) and which < 0:
        return _index(-which, names), -1.0
    return _index(which, names), 1.0


def _named(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Names of the outputs."""
    if classes is None:
        return ("score",) if count == 1 else tuple(f"output_{i}" for i in range(count))
    if len(classes) != count:
        raise Trouble(f"classes: expected the names of {count} outputs, got {len(classes)}.")
    return tuple(map(str, classes))


def function_digest(function: Any) -> str:
    """Of a function's name, code and plain values that it closes over: what it does, as far as that can be told."""
    inner = getattr(function, "func", function)
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    cells = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or ()]
    values = [*cells, *getattr(function, "args", ()), *sorted(getattr(function, "keywords", {}).items())]
    words = f"{getattr(inner, '__qualname__', type(inner).__qualname__)} {_code(code)} {list(map(_plain, values))}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _code(code: CodeType | None) -> str:
    if code is None:
        return ""
    constants = [_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {constants} {code.co_names}"


def _plain(value: Any) -> str:
    if isinstance(value, int | float | str | bytes | bool | None | tuple | list):
        return repr(value)
    return repr(value.tolist()) if isinstance(value, Tensor) else type(value).__qualname__
