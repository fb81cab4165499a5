"""Can a network be explained rightly? What is tried before anything is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from semexplain.performers.answer import Answer
from semexplain.performers.cut import Cut
from semexplain.performers.cut.swap import REPEATABLE, SLACK, swap_fault
from semexplain.performers.cut.whole import Whole
from semexplain.performers.layers import slope
from semexplain.performers.preprocessing import Normalisation
from semexplain.system.trouble import Trouble

PAIRS = 8  # images that are swapped
ALONE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # that outputs may depend on other images
BETTER = 0.1  # by which another preprocessing must not be more accurate
ENOUGH = 20  # labels that tell so
OTHERS = {  # what pixels are brought to, by other habits: divisor as a share of full brightness, mean, std
    "0 to 255": (1 / 255, [0.0], [1.0]),
    "0 to 1": (1.0, [0.0], [1.0]),
    "-1 to 1": (1.0, [0.5], [0.5]),
    "ImageNet": (1.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


class Subject(Protocol):
    """What is checked, a :class:`~semexplain.performers.network.Network`."""

    whole: Whole
    answer: Answer
    upper: Cut
    lower: Cut
    layers_read: tuple[str, ...]
    pixels: Normalisation
    image_shape: tuple[int, int, int]
    output_names: tuple[str, ...]

    @property
    def target_index(self) -> int: ...  # noqa: D102

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    def grid(self, feature: Tensor) -> Tensor: ...  # noqa: D102

    def digest(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: What.
        result: ``ok``; ``doubt``: look at it; ``fault``: explanations would be wrong.
        finding: What was found, and how to mend it.
    """

    name: str
    result: Literal["ok", "doubt", "fault"]
    finding: str


class Checks(tuple[Check, ...]):
    """All that was tried, printed as a table."""

    def __str__(self) -> str:
        """One line each."""
        width = max(len(check.name) for check in self)
        return "\n".join(f"{check.name:{width}}  {check.result:5}  {check.finding}".rstrip() for check in self)

    __repr__ = __str__


@torch.no_grad()
def checked(network: Subject, images: Tensor, labels: Tensor | None = None) -> Checks:
    """Try a network on images.

    Args:
        network: The network.
        images: Stored pixels ``(N, C, H, W)``.
        labels: ``(N,)``, which of the outputs is right for each image.

    Raises:
        Trouble: If something is at fault, with the reason and the remedy.
    """
    if len(images) < 2:
        raise Trouble(f"expected two or more images to check a network with, got {len(images)}.")
    if labels is not None and labels.shape != (len(images),):
        raise Trouble(f"expected a label for each of {len(images)} images, got {tuple(labels.shape)}.")
    before = network.digest()
    with torch.inference_mode(False):
        pixels = network.pixels(images[: PAIRS + 1].to(network.device))
        checks = [
            _repeatable(network, pixels),
            _alone(network, pixels),
            _swapped(network, pixels),
            _sloping(network, pixels),
            _logits(network, pixels),
            *_preprocessed(network, images, labels),
            *_ordered(network, images, labels),
            _sized(network, pixels),
        ]
    same = network.digest() == before
    state = Check("state", "ok" if same else "fault", "unchanged" if same else "a forward pass changes the weights.")
    checks.insert(1, state)
    faults = [f"{check.name}: {check.finding}" for check in checks if check.result == "fault"]
    if faults:
        raise Trouble("\n".join(faults))
    return Checks(checks)


def _said(network: Subject, pixels: Tensor) -> Tensor:
    return network.answer(network.whole(pixels))


def _repeatable(network: Subject, pixels: Tensor) -> Check:
    one, two = (_said(network, pixels) for _ in range(2))
    off, size = float((one - two).abs().max()), float(one.abs().max())
    if off == 0:
        return Check("repeatable", "ok", "two forward passes are equal to the bit")
    if off <= REPEATABLE * size:
        return Check("repeatable", "doubt", f"two forward passes differ by {off:.2g}: replays may by {SLACK * off:.2g}")
    return Check("repeatable", "fault", f"two forward passes differ by {off:.2g}: switch off what is random in it.")


def _alone(network: Subject, pixels: Tensor) -> Check:
    together = _said(network, pixels[:4])
    apart = torch.cat([_said(network, one) for one in pixels[:4].split(1)])
    off = float((together - apart).abs().max() / together.abs().max().clamp_min(1e-12))
    if off <= ALONE[network.whole.dtype]:
        return Check("batch", "ok", f"an image's outputs do not depend on others (to {off:.1g})")
    return Check(
        "batch",
        "fault",
        f"an image's outputs depend on others of its batch (by {off:.1%}): use running statistics.",
    )


def _swapped(network: Subject, pixels: Tensor) -> Check:
    cut = Cut(network.whole, network.layers_read, pixels)
    name, fault = " and ".join(network.layers_read), swap_fault(cut, pixels[1:], network.answer)
    if fault is None:
        return Check("swap test", "ok", f"{name} separates the network on {len(pixels) - 1} pairs of images")
    return Check("swap test", "fault", f"{name} does not separate the network: {fault}. `net.layers()` lists some.")


def _sloping(network: Subject, pixels: Tensor) -> Check:
    gradient = slope(network.upper, network.answer, pixels[:PAIRS], network.target_index)
    if gradient is None:
        return Check("gradient", "fault", "it cannot be taken: is the network quantised, or does it write in place?")
    if not gradient.isfinite().all():
        return Check("gradient", "fault", "it is not finite everywhere.")
    if not gradient.any():
        return Check("gradient", "fault", "the score does not depend on the layer: choose a lower one.")
    if not network.grid(gradient).any():
        return Check("gradient", "doubt", "only tokens without a place have one: filters do nothing, go a layer down")
    return Check("gradient", "ok", "finite, and not 0")


def _logits(network: Subject, pixels: Tensor) -> Check:
    outputs = _said(network, pixels)
    if bool((outputs >= 0).all()) and bool((outputs <= 1).all()):
        sums = outputs.sum(1)
        if outputs.shape[1] > 1 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            what = "outputs are probabilities that add up to 1"
        else:
            what = "outputs lie between 0 and 1"
        return Check("logits", "doubt", f"{what}: better explain the layer below, `output=<its name>`")
    return Check("logits", "ok", "outputs are not probabilities")


def _preprocessed(network: Subject, images: Tensor, labels: Tensor | None) -> Iterator[Check]:
    """Accuracy, or how sure the network is, as declared and by other habits."""
    if network.answer.function is not None or network.answer.signs or len(network.output_names) < 2:
        return None
    images = images[:64]
    labels = None if labels is None else labels[:64].to(network.device)
    shares = network.pixels.shares(images.to(network.device))
    found = {"declared": _quality(network, network.pixels(images.to(network.device)), labels)}
    for name, (divisor, mean, std) in OTHERS.items():
        if labels is None and divisor != 1:
            continue  # far too large numbers make any network sure
        if len(mean) in (1, network.image_shape[0]):
            constants = (torch.tensor(values, device=shares.device).view(-1, 1, 1) for values in (mean, std))
            middle, spread = constants
            found[name] = _quality(network, (shares / divisor - middle) / spread, labels)
    best = max(found, key=found.__getitem__)
    what = "mean confidence" if labels is None else "accuracy"
    words = f"{what} {found['declared']:.2f} as declared, {found[best]:.2f} with {best}"
    if best == "declared" or found[best] - found["declared"] <= BETTER:
        yield Check("preprocessing", "ok", f"{what} {found['declared']:.2f} as declared, no other is much better")
    elif labels is not None and len(labels) >= ENOUGH:
        yield Check("preprocessing", "fault", f"{words}: mend `transform`.")
    else:
        yield Check("preprocessing", "doubt", f"{words}: is `transform` that of the training?")


def _quality(network: Subject, pixels: Tensor, labels: Tensor | None) -> float:
    outputs = torch.cat([_said(network, some) for some in pixels.split(16)])
    if labels is not None:
        return float((outputs.argmax(1) == labels).float().mean())
    return float(outputs.softmax(1).amax(1).mean())


def _ordered(network: Subject, images: Tensor, labels: Tensor | None) -> Iterator[Check]:
    """Folders named by numbers are sorted as text by some programs and as numbers by others."""
    names = network.output_names
    if labels is None or network.answer.function is not None or network.answer.signs or len(names) < 2:
        return
    outputs = torch.cat([_said(network, network.pixels(some.to(network.device))) for some in images.split(16)])
    said, labels = outputs.argmax(1), labels.to(outputs.device)
    right = float((said == labels).float().mean())
    if all(name.isdecimal() for name in names):
        text, number = sorted(names), sorted(names, key=int)
        for one, other in ((text, number), (number, text)):
            moved = torch.tensor([one.index(name) for name in other], device=labels.device)
            better = float((moved[said] == labels).float().mean())
            if better > right + BETTER:
                words = f"accuracy {right:.2f}, but {better:.2f} with classes sorted the other way (text, numbers)"
                yield Check("class order", "fault", f"{words}: mend the order of `classes`.")
                return
    yield Check("class order", "ok", f"accuracy {right:.2f}")


def _sized(network: Subject, pixels: Tensor) -> Check:
    sizes = [4 * torch.Size(cut.shape).numel() for cut in (network.lower, network.upper)]
    words = f"{sizes[1] / 2**20:.3g} MiB of x per image"
    if network.lower is not network.upper:
        words += f", {sizes[0] / 2**20:.3g} of the map"
    largest = float(network.lower.read(pixels).abs().max())
    if largest > torch.finfo(torch.float16).max:
        return Check("memory", "doubt", f"{words}; {largest:.2g} is no half precision: add `data.cache_dtype=float32`")
    return Check("memory", "ok", words)
