"""At which layers a network may be cut: candidates, whether they separate it, and what the part above costs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from semexplain.performers.cut import Cut
from semexplain.performers.cut.calls import Call, intercepted
from semexplain.performers.cut.structure import tensors
from semexplain.performers.cut.swap import swap_fault
from semexplain.performers.cut.whole import Whole
from semexplain.performers.tokens import Grid, grid_of
from semexplain.system.trouble import Trouble

MOST = 40  # candidates: as deep into the modules as gives no more
Outputs = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Candidate:
    """A layer at which a network may be cut.

    Attributes:
        name: As :class:`~semexplain.performers.network.Network` takes it.
        grid: How its value is a grid over the image.
        fault: Why it does not separate the network; None if it does.
        share: Of the multiplications of a forward pass, what lies above, from 0 to 1; None if it was not measured.
        speaks: Whether the score has a gradient at its cells: a layer from which only the class token goes on has none.
        suggested: Whether it is the last good one of its resolution.
    """

    name: str
    grid: Grid
    fault: str | None = None
    share: float | None = None
    speaks: bool = False
    suggested: bool = False

    @property
    def good(self) -> bool:
        """Whether concepts can be read there."""
        return self.fault is None and self.speaks


class Layers(tuple[Candidate, ...]):
    """Candidates, which are printed as a table."""

    def __str__(self) -> str:
        """One line each: ``*`` if suggested, name, channels and cells, separates, share above."""
        width = max([5, *(len(candidate.name) for candidate in self)])
        lines = [f"  {'layer':{width}}  {'channels x cells':>18}  separates  above"]
        for one in self:
            channels, height, down = one.grid.shape
            cells = f"{channels} x {height} x {down}"
            share = "" if one.share is None else f"{one.share:6.1%}"
            mark = "*" if one.suggested else " "
            says = "no" if one.fault else "yes" if one.speaks else "no slope"
            lines.append(f"{mark} {one.name:{width}}  {cells:>18}  {says:9}  {share}".rstrip())
        return "\n".join(lines)

    __repr__ = __str__


def layers_of(whole: Whole, outputs: Outputs, image: Tensor, *, target: int = 0) -> Layers:
    """The candidates of a network, from the first to the last.

    Args:
        whole: The network, frozen.
        outputs: From what it returns to its outputs ``(B, K)``.
        image: Two or more images as it expects them ``(B, C, H, W)``.
        target: Which of the outputs is the score.
    """
    total = _multiplications(lambda: whole(image[:1]))
    tried = []
    for name, grid, counts in _places(whole, image):
        cut, found = _tried(whole, name, grid, counts, outputs, image, target)
        share = None
        if cut is not None and found.fault is None and total:
            share = _multiplications(partial(cut.replay, cut.read(image[:1]))) / total
        tried.append((found, share))
    last = {found.grid.shape[1:]: at for at, (found, _) in enumerate(tried) if found.good}
    return Layers(
        Candidate(found.name, found.grid, found.fault, share, found.speaks, last.get(found.grid.shape[1:]) == at)
        for at, (found, share) in enumerate(tried)
    )


def last_layer(whole: Whole, outputs: Outputs, image: Tensor, *, target: int = 0) -> tuple[Cut, Grid]:
    """The network cut at the last layer with several cells over the image where concepts can be read.

    Raises:
        Trouble: If there is none.
    """
    faults = []
    for name, grid, counts in reversed(_places(whole, image)):
        cut, found = _tried(whole, name, grid, counts, outputs, image, target)
        if cut is not None and found.good:
            return cut, grid
        faults.append(f"{name}: {found.fault or 'its cells do not influence the score'}")
    why = f" The last one, {faults[0]}." if faults else ""
    raise Trouble(
        f"no layer with several cells over the image separates the network: say `layer=...`, one or several.{why}"
    )


def slope(cut: Cut, outputs: Outputs, image: Tensor, target: int) -> Tensor | None:
    """Gradient of the score at the layers, ``(B, ...)``; None if it cannot be taken."""
    with torch.inference_mode(False), torch.enable_grad():
        with torch.no_grad():
            value = cut.read(image)
        value.requires_grad_()
        try:
            score = outputs(cut.replay(value))[:, target]
            (gradient,) = torch.autograd.grad(score.sum(), value)
        except RuntimeError:  # switched off, not written for integers, or lost by writing in place
            return None
    return gradient


def _tried(
    whole: Whole, name: str, grid: Grid, counts: Counter[str], outputs: Outputs, image: Tensor, target: int
) -> tuple[Cut | None, Candidate]:
    try:
        cut = Cut(whole, [name], image, counts)
    except Trouble as trouble:
        return None, Candidate(name, grid, str(trouble))
    fault = swap_fault(cut, image[1:], outputs)
    if fault is not None:
        return cut, Candidate(name, grid, fault)
    gradient = slope(cut, outputs, image[1:2], target)
    return cut, Candidate(name, grid, speaks=gradient is not None and bool(grid.seen(gradient).any()))


def _places(whole: Whole, image: Tensor) -> list[tuple[str, Grid, Counter[str]]]:
    """Calls that end with several cells over the image, below some parameters, in the order of their ends."""
    counts: Counter[str] = Counter()
    begun: list[bool] = []  # of each call, whether the module has parameters of its own
    ended: list[tuple[Call, Grid, int]] = []

    def answer(name: str, forward: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        counts[name] += 1
        call = Call(name, counts[name])
        begun.append(any(True for _ in whole.names[name].parameters(recurse=False)))
        value = forward(*arguments, **keywords)
        numbers = (one for one in tensors(value) if one.is_floating_point())
        first = next((list(one.shape) for one in numbers if one.ndim > 2 and 1 in one.shape[:2]), None)
        if first is not None:
            first.remove(1)  # the image
            grid = grid_of(first, image.shape[2:])
            if grid.height * grid.width > 1:
                ended.append((call, grid, len(begun)))
        return value

    with torch.inference_mode(False), torch.no_grad(), intercepted(whole.names, answer):
        whole(image[:1])
    found = [
        (str(call) if counts[call.name] > 1 else call.name, grid, counts) for call, grid, at in ended if any(begun[at:])
    ]
    return _shallow(found)


def _shallow(places: Sequence[tuple[str, Grid, Counter[str]]]) -> list[tuple[str, Grid, Counter[str]]]:
    """Those whose names have so many dots that there are not too many of them."""
    depths = [place[0].count(".") for place in places]
    deepest = min(depths, default=0)
    for depth in range(deepest, max(depths, default=0) + 1):
        if sum(own <= depth for own in depths) <= MOST:
            deepest = depth
    return [place for place, own in zip(places, depths, strict=True) if own <= deepest]


def _multiplications(function: Callable[[], Any]) -> int:
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()
