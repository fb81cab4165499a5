"""The swap test: is what lies above a layer a function of the layer's value alone?"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semexplain.performers.cut import Cut
from semexplain.performers.cut.whole import Whole
from semexplain.system.trouble import Trouble

REPEATABLE = 1e-3  # a network whose answers differ by more, as a share of their size, has no answer to explain
MOST = 8  # layers that a message names
SLACK = 10.0  # times its own unrepeatability that a replay may be off


def swap_fault(cut: Cut, image: Tensor, outputs: Callable[[Any], Tensor]) -> str | None:
    """Why a layer does not separate a network; None if it does.

    The network runs on other images while the layers return what they said of these. If the outputs are those of these
    images, bit for bit, everything above is a function of the layers' value. Here the other image is the recorded one.
    A network that does not repeat itself may be off by ten times what it differs from itself.

    What goes past may be too little to change an output's last digit, in these images. So the gradient with respect to
    one image, while the layers' values are held, has to be 0 as well, if there is one.

    Args:
        cut: The network, cut.
        image: Images ``(B, C, H, W)`` as the network expects them, not the recorded one.
        outputs: From what the network returns to its outputs ``(B, K)``.
    """
    try:
        with torch.no_grad():
            expected, again = (outputs(cut.whole(image)) for _ in range(2))
            found = outputs(cut.replay(cut.read(image)))
            other = outputs(cut.whole(cut.recorded_image.expand_as(image)))
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError) as error:
        return f"replayed from there the network fails ({str(error).splitlines()[0]})"
    if not expected.isfinite().all():
        return "its outputs are not finite"
    size = float(expected.abs().max())
    noise = float((expected - again).abs().max())
    if noise > REPEATABLE * size:
        return f"two forward passes differ by {noise:.3g}: something in it is random"
    if float((expected - other).abs().max()) <= SLACK * noise:
        return "its outputs are the same for all images (are its last layers still 0, as they began?)"
    if found.shape != expected.shape:
        return f"replayed from there the outputs are {tuple(found.shape)}, not {tuple(expected.shape)}"
    off = float((found - expected).abs().max())
    if off > SLACK * noise or off != off:
        return f"the outputs depend on the image past it (they are off by {off:.3g})"
    if (slope := _slope_past(cut, image[:1], outputs)) != 0:
        return f"the outputs depend on the image past it (their gradient there is {slope:.3g}, though it is small)"
    return None


def _slope_past(cut: Cut, image: Tensor, outputs: Callable[[Any], Tensor]) -> float:
    """The largest gradient of the outputs at the pixels while the layers are held; 0 without one, nan if it is none."""
    with torch.inference_mode(False), torch.enable_grad():
        pixels = image.clone().requires_grad_()
        try:
            found = outputs(cut.past(pixels))
            weights = torch.arange(1.0, found.numel() + 1, device=found.device)  # a softmax's outputs add up to 1
            (slope,) = torch.autograd.grad(weights @ found.flatten(), pixels, allow_unused=True)
        except RuntimeError:  # quantised, switched off, or lost by writing in place
            return 0.0
    return 0.0 if slope is None else float(slope.abs().max())


def require_separation(cut: Cut, image: Tensor, outputs: Callable[[Any], Tensor]) -> None:
    """Refuse a cut that does not separate the network, and name what would.

    Raises:
        Trouble: With the reason; and the nearest module around a single layer that passes, and what the layers separate
            the network together with, if there are.
    """
    fault = swap_fault(cut, image, outputs)
    if fault is None:
        return
    names = " and ".join(cut.names)
    around = enclosing(cut.whole, cut.layers[0].name, image, outputs) if len(cut.layers) == 1 else None
    together = completed(cut, image, outputs)
    ways = [
        *([f"choose {around!r}, the nearest module around it that does"] if around else []),
        *([f"give layer={together}, which do together"] if together else []),
    ]
    further = "give the layers inside it: it returns several tensors, and the first alone is its value"
    mend = ", or ".join(ways) or (further if cut.partial else "choose a layer further up")
    raise Trouble(f"{names} does not separate the network: {fault}. {mend[0].upper()}{mend[1:]}.")


def completed(cut: Cut, image: Tensor, outputs: Callable[[Any], Tensor]) -> list[str] | None:
    """The layers with all that goes past them, if these separate the network together and are not too many to name."""
    try:
        layers = [*cut.names, *cut.crossings(outputs)]
        if not len(cut.names) < len(layers) <= MOST:
            return None
        fault = swap_fault(Cut(cut.whole, layers, image), image[1:], outputs)
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return layers if fault is None else None


def enclosing(whole: Whole, name: str, image: Tensor, outputs: Callable[[Any], Tensor]) -> str | None:
    """The nearest module around a module that separates the network."""
    while (name := name.rpartition(".")[0]) in whole.names:
        try:
            cut = Cut(whole, [name], image)
        except ValueError:  # a mere container
            continue
        if swap_fault(cut, image[1:], outputs) is None:
            return name
    return None
