"""Calls of modules in one forward pass: their names, and how they are answered by somebody else."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from semexplain.data.text_files import first_few
from semexplain.system.config import suggest
from semexplain.system.trouble import Trouble

LOCK = threading.RLock()  # one thread at a time may answer for modules: they are shared
_WRAPPERS = ("_orig_mod", "module")  # of torch.compile, and of DataParallel and its kin
_ABSENT = object()
Answer = Callable[..., Any]  # (name, forward, *arguments) -> what the module returns


class Call(NamedTuple):
    """One call of a module in a forward pass.

    Attributes:
        name: Dotted name of the module.
        number: Which of its calls, from 1; 0: its only one.

    Example:
        >>> Call.parse("layer1.0.act:2"), str(Call.parse("layer4"))
        (Call(name='layer1.0.act', number=2), 'layer4')
    """

    name: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "Call":
        """Of ``name`` or ``name:number``."""
        name, colon, number = text.partition(":")
        if not name or (colon and not (number.isdecimal() and int(number) > 0)):
            raise Trouble(f"expected the name of a module, or name:2 for its second call, got {text!r}.")
        return cls(name, int(number) if colon else 0)

    def __str__(self) -> str:
        return self.name if self.number == 0 else f"{self.name}:{self.number}"


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel`` and their kin.

    Example:
        >>> unwrapped(nn.DataParallel(nn.Linear(1, 1)))
        Linear(in_features=1, out_features=1, bias=True)
    """
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def _inside(module: nn.Module) -> nn.Module | None:
    """What a wrapper wraps: its only child, under a wrapper's name and under a wrapper's class."""
    children = dict(module.named_children())
    if len(children) != 1 or (name := next(iter(children))) not in _WRAPPERS:
        return None
    kinds = ("OptimizedModule", "DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")
    return children[name] if type(module).__name__ in kinds else None


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by dotted name, without the model itself and without wrappers, which leave no trace in a name."""
    names: dict[str, nn.Module] = {}
    seen: set[nn.Module] = set()

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            child = unwrapped(child)
            if child not in seen:
                seen.add(child)
                names[f"{prefix}{name}"] = child
                walk(child, f"{prefix}{name}.")

    walk(unwrapped(model), "")
    return names


def found_name(names: Mapping[str, nn.Module], model: nn.Module, name: str) -> str:
    """The name under which a module is known, from one that may lead through wrappers or be its second one.

    Raises:
        Trouble: If there is no such module.
    """
    plain = name
    if plain not in names:
        parts = name.split(".")
        while parts and parts[0] in _WRAPPERS and ".".join(parts) not in names:
            parts = parts[1:]
        plain = ".".join(part for part in parts if part != "_orig_mod")
    if plain in names:
        return plain
    try:  # a module that is shared is known by its first name
        module = unwrapped(unwrapped(model).get_submodule(plain))
        return next(known for known, other in names.items() if other is module)
    except (AttributeError, StopIteration):
        hint = suggest(plain, list(names))
        raise Trouble(
            f"there is no module {name!r} in {type(unwrapped(model)).__name__}{hint}, which has "
            f"{first_few([known for known in names if '.' not in known])}."
        ) from None


@contextmanager
def intercepted(modules: Mapping[str, nn.Module], answer: Answer) -> Iterator[None]:
    """Let ``answer(name, forward, *arguments)`` be called in place of the ``forward`` of modules.

    Their own hooks run around it as always. Everything is as before when the block ends, also by an error.
    """
    before = {}
    with LOCK:
        try:
            for name, module in modules.items():
                forward = module.forward
                before[name] = vars(module).get("forward", _ABSENT)
                vars(module)["forward"] = _answered(answer, name, forward)
            yield
        finally:
            for name, own in before.items():
                if own is _ABSENT:
                    del vars(modules[name])["forward"]
                else:
                    vars(modules[name])["forward"] = own


def _answered(answer: Answer, name: str, forward: Answer) -> Answer:
    return lambda *arguments, **keywords: answer(name, forward, *arguments, **keywords)


def numbered(call: Call, counts: Counter[str]) -> Call:
    """The call with its number, once it is known how often its module is called.

    Raises:
        Trouble: If the module is not called, or not that often, or more than once where no number is given.
    """
    times = counts[call.name]
    if times == 0:
        raise Trouble(f"{call.name!r} is not called when the network runs: choose a module that is.")
    if call.number > times:
        raise Trouble(f"{call}: {call.name!r} is called {times} time{'s' * (times > 1)} only.")
    if call.number == 0 and times > 1:
        raise Trouble(
            f"{call.name!r} is called {times} times in a forward pass: choose one of "
            f"{first_few([f'{call.name}:{number}' for number in range(1, times + 1)])}."
        )
    return call if call.number else Call(call.name, 1)
