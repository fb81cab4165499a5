"""Calibrate a classifier's scores on images that it was not trained on."""

import torch
from torch import Tensor, nn


def platt_scaling(logits: Tensor, label: Tensor, class_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The scale and offset of each output's scores that fit the labels best (Platt 1999).

    A network that has learnt its training images by heart is too sure of itself, and surer of the kind of which it saw
    more images. ``a, b`` minimise the logistic loss of ``a·logit + b``, with Platt's targets ``(N₊ + 1) / (N₊ + 2)``
    and ``1 / (N₋ + 2)`` in place of 1 and 0. The order of the images does not change.

    Args:
        logits: ``(N, K)``, of images that were not trained on.
        label: bool ``(N, K)``.
        class_weights: ``(2, K)``. Factors for images without and with each label; 1 by default.

    Returns:
        Scale ``a`` and offset ``b``, both ``(K,)`` and float64. They are 1 and 0 for an output whose images all or none
        have the label, or whose order of images is no better than chance.

    Example:
        >>> label = torch.tensor([[True], [True], [True], [False], [False], [False]])
        >>> scale, offset = platt_scaling(torch.tensor([[30.0], [10.0], [12.0], [11.0], [8.0], [-4.0]]), label)
        >>> bool(scale < 0.2), round(float(-offset / scale))  # far less sure, and only above 11
        (True, 11)
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _fitted(logits.double().clone(), label.clone(), class_weights)


def _fitted(logits: Tensor, label: Tensor, class_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    counts = torch.stack([(~label).sum(0), label.sum(0)]).double()
    target = torch.where(label, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    weight = (
        torch.ones_like(logits) if class_weights is None else torch.where(label, class_weights[1], class_weights[0])
    )
    center, width = logits.mean(0), logits.std(0).clamp_min(1e-12)
    standard = (logits - center) / width
    slope, shift = torch.ones_like(center, requires_grad=True), torch.zeros_like(center, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, shift], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        answer = slope * standard + shift
        loss = nn.functional.binary_cross_entropy_with_logits(answer, target, weight)
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, shift = slope.detach(), shift.detach()
    useless = (counts == 0).any(0) | ~(slope > 0)
    scale = torch.where(useless, 1.0, slope / width)
    return scale, torch.where(useless, 0.0, shift - slope * center / width)


@torch.no_grad()
def rescale(layer: nn.Linear, scale: Tensor, offset: Tensor) -> None:
    """Multiply the outputs of a layer by ``scale`` and add ``offset``, both of shape ``(K,)``, in its parameters.

    Example:
        >>> layer = nn.Linear(3, 1)
        >>> before = layer(torch.ones(1, 3))
        >>> rescale(layer, torch.tensor([2.0]), torch.tensor([5.0]))
        >>> torch.allclose(layer(torch.ones(1, 3)), 2 * before + 5)
        True
    """
    layer.weight.mul_(scale[:, None])
    layer.bias.mul_(scale).add_(offset)
