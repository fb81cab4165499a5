r"""What makes a filter stand for one object part: masks around its peak, and a loss that keeps it to them (Sec. 4.1).

A map of :math:`m \times m` cells is masked by a template: 1 at the centre of its activation, falling linearly with the
distance, -1 far away. The loss raises the mutual information between the maps of a filter and the templates: on images
of the target its activation should lie around one place, on all others there should be none. The loss is a surrogate:
only its gradient means something, its value does not. It is added to the sum over a batch of the task's loss. Under
several processes every mean over the batch is one process's own; nothing is gathered.
"""

import math

import torch
from torch import Tensor

from semexplain.concepts.losses import precise

TEMPERATURE = 0.5
STRENGTH = 1e-5  # of the gradient, against a sum over the batch of logistic losses
MAGNITUDE = 0.1  # mean strength over the images of a kind in the first epoch
SHARPNESS_RANGE = (1.5, 3.0)


def filter_masks(activation: Tensor, sharpness: Tensor, before_relu: Tensor | None = None) -> Tensor:
    r"""Template of every map: how much a cell belongs to the place where the filter fires.

    .. math:: T_{hw} = \max\bigl(1 - \beta\, (|p_h - \mu_h| + |p_w - \mu_w|),\ -1\bigr)

    with positions :math:`p` from -1 to 1 along each side. The centre :math:`\mu` is the activation-weighted mean of the
    cells' coordinates, rounded to a cell (half of one, upwards).

    Args:
        activation: ``(B, n, m, m)``, after a ReLU.
        sharpness: ``(n,)``, the paper's :math:`\beta`.
        before_relu: ``(B, n, m, m)``. Where a map has no activation, its largest value is the centre; without it, the
            first cell is.

    Returns:
        ``(B, n, m, m)`` between -1 and 1, detached, at least float32.

    Example:
        >>> activation = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]]])
        >>> filter_masks(activation, torch.tensor([0.75]))
        tensor([[[[-0.5000,  0.2500, -0.5000],
                  [ 0.2500,  1.0000,  0.2500],
                  [-0.5000,  0.2500, -0.5000]]]])
    """
    with torch.no_grad():
        activation, sharpness = precise(activation.detach()), precise(sharpness.detach())
        rows, columns = _distances(activation, before_relu)
        cell = 2 / max(activation.shape[-1] - 1, 1)
        distance = cell * (rows.abs()[..., :, None] + columns.abs()[..., None, :])
        return (1 - sharpness[:, None, None] * distance).clamp_min(-1)


def filter_loss(activation: Tensor, mask: Tensor, positive: Tensor, epoch: int) -> Tensor:
    r"""Surrogate whose gradient pulls a filter's activation into its mask, or away where there is no target.

    .. math:: \kappa \Bigl(\sum_{b \notin P,\, d} s_{bd} \sum_{hw} x_{bdhw}
              - \sum_{b \in P,\, d} s_{bd} \sum_{hw} T_{bdhw}\, x_{bdhw}\Bigr)

    with the images :math:`P` of the target, masks :math:`T` and strengths :math:`s`, both constant. On :math:`P`, with
    :math:`S_{bd} = \mathrm{mean}_{hw}(x T)` and temperature :math:`a`,

    .. math:: s_{bd} \propto e^{S_{bd} / a} (S_{bd} - \log Z_d + a), \qquad
              \log Z_d = a \log \mathrm{mean}_b\, e^{\mathrm{mean}_{hw}(x T') / a}

    where :math:`T'` are the masks of other maps (the order of images and filters reversed). On the other images
    :math:`-\mathrm{mean}_{hw}(x)` takes the place of both means. Strengths are scaled, per filter, to a mean of
    0.1 / epoch over the images of a kind.

    Args:
        activation: ``(B, n, m, m)``, the maps x after a ReLU; the gradient flows there.
        mask: ``(B, n, m, m)`` of :func:`filter_masks`.
        positive: bool ``(B,)``, which images show the target. A kind of image that the batch lacks has no share.
        epoch: Counted from 1.

    Returns:
        A scalar, at least float32, to be added to a sum over the batch.

    Raises:
        ValueError: If ``epoch`` is less than 1.

    Example:
        >>> x = torch.ones(2, 1, 1, 1, requires_grad=True)
        >>> filter_loss(x, torch.ones(2, 1, 1, 1), torch.tensor([True, False]), epoch=2).backward()
        >>> x.grad.flatten() / STRENGTH
        tensor([-0.0500,  0.0500])
    """
    if epoch < 1:
        raise ValueError(f"`epoch` is counted from 1, got {epoch}.")
    activation = precise(activation)
    mask = mask.detach()
    with torch.no_grad():
        inside = (activation * mask).mean((2, 3))
        elsewhere = (activation * mask.flip(0, 1)).mean((2, 3))
        outside = -activation.mean((2, 3))
        for_target = _strengths(inside, elsewhere, positive) / epoch
        for_others = _strengths(outside, outside, ~positive) / epoch
    pull = (for_target[..., None, None] * mask * activation).sum()
    push = (for_others[..., None, None] * activation).sum()
    return STRENGTH * (push - pull)


def sharpness_target(sharpness: Tensor, activation: Tensor, mask: Tensor, positive: Tensor) -> Tensor:
    r"""Sharpness that a filter's activation suggests by its spread on the images of the target.

    .. math:: \beta^*_d = \mathrm{clamp}(3 / \sigma_d,\ 1.5,\ 3), \qquad
              \sigma_d = \frac{\sum_{b \in P} S_{bd}\, \sigma_{bd}}{\sum_{b \in P} S_{bd}}

    with :math:`\sigma_{bd}` the root of the activation-weighted mean squared distance from the centre, in cells. A
    filter that is silent on all images of the target keeps its sharpness.

    Args:
        sharpness: ``(n,)``, as it is.
        activation: ``(B, n, m, m)``, after a ReLU.
        mask: ``(B, n, m, m)`` of :func:`filter_masks`.
        positive: bool ``(B,)``, which images show the target.

    Returns:
        ``(n,)``, detached, at least float32.

    Example:
        >>> x = torch.ones(1, 1, 1, 1)  # no spread: as sharp as can be
        >>> sharpness_target(torch.tensor([2.0]), x, x, torch.tensor([True]))
        tensor([3.])
    """
    with torch.no_grad():
        activation = precise(activation.detach())[positive]
        inside = (activation * mask.detach()[positive]).mean((2, 3))
        rows, columns = _distances(activation, None)
        squares = rows.square()[..., :, None] + columns.square()[..., None, :]
        mass = activation.sum((2, 3))
        spread = ((squares * activation).sum((2, 3)) / torch.where(mass > 0, mass, 1)).sqrt()
        total = inside.sum(0)
        target = (3 / ((inside * spread).sum(0) / total)).clamp(*SHARPNESS_RANGE)
        return torch.where(total != 0, target, precise(sharpness.detach()))


def _strengths(values: Tensor, contrast: Tensor, mask: Tensor) -> Tensor:
    """Strengths ``(B, n)``, in the mean over the chosen images ``MAGNITUDE``; 0 on all others."""
    logits = values / TEMPERATURE
    log_z = TEMPERATURE * ((contrast / TEMPERATURE).logsumexp(0) - math.log(len(values)))
    # The largest exponential of a filter is 1: the common factor cancels below.
    largest = logits.masked_fill(~mask[:, None], -torch.inf).amax(0)
    strength = torch.where(mask[:, None], (logits - largest).exp() * (values - log_z + TEMPERATURE), 0)
    mean = strength.sum(0) / mask.sum()
    return torch.where(mask[:, None] & (mean != 0), MAGNITUDE * strength / mean, 0)


def _distances(activation: Tensor, before_relu: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rows and columns ``(B, n, m)`` of all cells, counted from the centre of each map's activation."""
    side = activation.shape[-1]
    cells = torch.arange(1.0, side + 1, device=activation.device, dtype=activation.dtype)
    mass = activation.sum((2, 3))
    if before_relu is None:
        peak = torch.zeros_like(mass, dtype=torch.long)
    else:
        peak = before_relu.detach().flatten(2).argmax(2)
    distances = []
    for across, at_peak in ((3, peak // side), (2, peak % side)):
        mean = (activation.sum(across) * cells).sum(2) / torch.where(mass > 0, mass, 1)
        centre = torch.where(mass > 0, (mean + 0.5).floor().clamp(1, side), at_peak + 1)
        distances.append(cells - centre[..., None])
    return distances[0], distances[1]
