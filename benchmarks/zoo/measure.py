"""One architecture of the zoo: checked, compared with a slower way, fitted and explained."""

import json
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import semexplain as sx
from benchmarks.zoo.architectures import Architecture, architectures, settled
from benchmarks.zoo.slower import Ways, together
from semexplain.system.files import write_text
from semexplain.system.quiet import hush
from semexplain.system.trouble import Trouble

BATCHES = (4, 1)  # images A that are compared, each with an image B; five pairs
SLACK = 10.0  # times the network's own unrepeatability that a replay may be off
ROUNDING = 1e-6  # of a sum in single precision, as a share of its terms
REPEATS = 7  # of a timing, of which the quickest counts: the least disturbed
MEMORY, COMPUTING = 8 * 2**30, 240  # bytes, and seconds of a processor, that an architecture may take
FITTED, EXPLAINED, SETTLED = 24, 3, 8  # pictures
PASSED, REFUSED, WRONG, FAILED = "passed", "refused", "wrong", "failed"
SHORT = (
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false",
    "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]",
    "data.num_workers=0",
)
Record = dict[str, Any]


class WrongError(Exception):
    """Silently wrong: a number differs from that of the slower way."""


def measured(key: str, file: Path) -> None:
    """Measure an architecture in this process and write its record."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (COMPUTING, COMPUTING))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    hush()
    one = next(one for one in architectures() if one.key == key)
    record, begun = {"source": one.source, "name": one.name, "side": one.side}, time.perf_counter()
    write_text(file, json.dumps(record | _outcome(one, record, begun), indent=1) + "\n")


def _outcome(one: Architecture, record: Record, begun: float) -> Record:
    """How it ended, and in which words."""
    try:
        for step in _steps(one, record):
            record["reached"] = step
        outcome, words = PASSED, ""
    except Trouble as trouble:
        outcome, words = FAILED, str(trouble)
        if one.refused and one.refused in words:
            outcome = REFUSED
    except WrongError as error:
        outcome, words = WRONG, str(error)
    except Exception:
        outcome, words = FAILED, traceback.format_exc(limit=-4)
    if outcome == PASSED and one.refused:
        outcome, words = WRONG, f"it should have been refused: {one.refused}"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"outcome": outcome, "words": words, "seconds": time.perf_counter() - begun, "memory": memory}


def _steps(one: Architecture, record: Record) -> Any:
    """All that is done with it, step by step; what is found goes into the record."""
    torch.manual_seed(0)
    model = one.make()
    pictures = noise(FITTED, one.side, one.channels)
    images = torch.from_numpy(pictures).movedim(-1, 1).contiguous()
    if not isinstance(model, torch.jit.ScriptModule):
        settled(model, images[-SETTLED:] / 255, one.inputs)
    yield "made"
    options: dict[str, Any] = {"inputs": dict(one.inputs)} if one.inputs else {}
    net = sx.Network(
        model, one.layer, output=one.output, transform={"size": [one.channels, one.side, one.side]}, **options
    )
    record |= {"layer": " + ".join(net.layers_read), "map": list(net.map_shape)}
    if one.layer is None and net.map_shape[0] == 1:
        raise ValueError(f"{net.layers_read} has one channel: it is hardly a map of the image")
    yield "cut"
    record["doubts"] = [check.name for check in net.check(images[:9]) if check.result == "doubt"]
    yield "checked"
    ways = Ways(model, net.layers_read, one.output, one.inputs)
    for count in BATCHES:
        _compare(net, ways, images[:count], images[count : 2 * count], record)
    yield "compared"
    record |= _costs(net, images[:4])
    yield "timed"
    _explain(net, ways, pictures, images, record)
    yield "explained"


def noise(count: int, side: int, channels: int) -> np.ndarray:
    """Pictures ``(count, side, side, channels)`` of coarse and fine noise."""
    random = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, channels, 5, 5, generator=random)
    coarse = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    mixed = 0.7 * coarse + 0.3 * torch.rand(coarse.shape, generator=random)
    return (mixed * 255).to(torch.uint8).movedim(1, -1).contiguous().numpy()


def _compare(net: sx.Network, ways: Ways, stored: Tensor, others: Tensor, record: Record) -> None:
    """Replay against the whole network: scores, with and without gradients, and gradients.

    The score is also that of other images while the layers return what they say of these.
    """
    image, other, count = stored / 255, others / 255, len(stored)
    with torch.no_grad():
        plain, again = (ways.scored(image)[0] for _ in range(2))
        found = net.head(net.feature(net.encode(stored)))[0]
    _require("score", found, plain, again, record)
    score, values, slopes = ways.sloped(image)
    score_again, _, slopes_again = ways.sloped(image)
    with torch.no_grad():
        x = net.feature(net.encode(stored))
    _require("value of the layer", x, *(together(values, count).float() for _ in range(2)), record)
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        replayed = net.head(leaf)[0]
        (slope,) = torch.autograd.grad(replayed.sum(), leaf)
        swapped = ways.given(other, [value.clone().requires_grad_().clone() for value in values])
    _require("score", replayed.detach(), score, score_again, record)
    _require("score of other images with these values", replayed.detach(), swapped.detach(), score_again, record)
    expected, another = (together(slopes_of, count) for slopes_of in (slopes, slopes_again))
    _require("gradient", slope, expected, another, record)
    if not bool(slope.any()):
        raise WrongError("the gradient is 0 everywhere")
    record["pairs"] = record.get("pairs", 0) + count


def _require(what: str, found: Tensor, expected: Tensor, again: Tensor, record: Record) -> None:
    """Equal to the bit; within ten times what the network differs from itself, if it does."""
    if found.shape != expected.shape:
        raise WrongError(f"{what}: shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    allowed = SLACK * float((expected - again).abs().max())
    off = float((found - expected).abs().max())
    record["off"] = max(off, record.get("off", 0.0))
    record["allowed"] = max(allowed, record.get("allowed", 0.0))
    if not off <= allowed:
        raise WrongError(f"{what}: off by {off:.3g} of {float(expected.abs().max()):.3g}, allowed {allowed:.3g}")


@torch.no_grad()
def _costs(net: sx.Network, stored: Tensor) -> Record:
    """The part above the layer as a share of a forward pass: by multiplications, and by the clock."""
    pixels = net.pixels(stored)
    x = net.feature(net.encode(stored))
    flops = [_multiplications(lambda: net.outputs(x[:1])), _multiplications(lambda: net.whole(pixels[:1]))]
    runs = [(_seconds(lambda: net.outputs(x)), _seconds(lambda: net.whole(pixels))) for _ in range(REPEATS)]
    head, whole = map(min, zip(*runs, strict=True))
    return {
        "share": flops[0] / flops[1] if flops[1] else None,
        "wall_share": head / whole,
        "forward": whole,
    }


def _multiplications(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def _seconds(function: Callable[[], Any]) -> float:
    begun = time.perf_counter()  # of the processor's own time some systems count only whole ticks
    function()
    return time.perf_counter() - begun


def _explain(net: sx.Network, ways: Ways, pictures: np.ndarray, images: Tensor, record: Record) -> None:
    """A fit of one epoch, and three explanations that have to add up to what the whole network says."""
    with tempfile.TemporaryDirectory() as folder:
        wide = ["data.cache_dtype=float32"] if "memory" in record["doubts"] else []  # as the check says
        options = [*SHORT, *wide, f"paths.cache={folder}/cache"]
        explainer = sx.Explainer(net, options=options).fit(pictures, out=Path(folder) / "run")
        found = explainer.explain(pictures[:EXPLAINED], progress=False)
    with torch.no_grad():
        score, again = (ways.scored(images[:EXPLAINED] / 255)[0].float() for _ in range(2))
    _require("explained score", found.score, score, again, record)
    if not torch.equal(found.contributions, found.weights * found.values):
        raise WrongError("contributions are not weights times values")
    terms = [*found.contributions.double().T, found.base_value.double().expand(EXPLAINED), found.residual.double()]
    size = sum((term.abs() for term in terms), found.score.double().abs())
    off = float(((sum(terms) - found.score).abs() / size).max())  # type: ignore[operator]
    record |= {"concepts": len(found.concepts), "sum_off": off}
    if not off <= ROUNDING:
        raise WrongError(f"contributions, base value and residual do not add up to the score, by {off:.2g} of it")
