"""One constant for all concepts, by which their strengths are divided where an explainer weighs them."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from semexplain.explainers.base import Output
from semexplain.explanation import Performance
from semexplain.system.processes import of_all_processes


@torch.no_grad()
def scale_of_scores(performances: Iterator[Performance], output: Output) -> Tensor:
    r"""The constant s with which the first prediction of an untrained explainer varies as much as the scores do.

    PyTorch's initialisation gives outputs ``u`` around 0. A softplus makes a weight of :math:`\ln 2` of each, so that
    the first prediction is :math:`\ln 2 \sum_i y_i / s`; weights with signs are of size 1, either sign as likely:

    .. math:: s = \ln 2\; \frac{\mathrm{std}(\sum_i y_i)}{\mathrm{std}(\hat y)} \quad\text{(softplus)}, \qquad
              s = \frac{\sqrt{\sum_i \mathrm{var}(y_i)}}{\mathrm{std}(\hat y)} \quad\text{(identity)}

    It depends on the images alone, not on a seed. Where scores or strengths are the same for all images it is 1.

    Args:
        performances: Scores ``(B,)`` and strengths ``(B, n)`` of the training images, a batch at a time.
        output: What the explainer makes of its outputs.

    Returns:
        ``()``, in units of a strength per score; what all processes have together.

    Example:
        >>> score, concepts, nothing = torch.tensor([0.0, 2.0]), torch.tensor([[5.0], [25.0]]), torch.empty(0)
        >>> scale_of_scores(iter([Performance(score, concepts, nothing, nothing)]), "identity")
        tensor(10.)
    """
    moments = []
    for score, concepts, _, _ in performances:
        columns = torch.cat([score[:, None], concepts.sum(1, keepdim=True), concepts], 1).double()
        count = torch.full_like(columns[:1], len(columns))
        moments.append(torch.stack([count[0], columns.sum(0), columns.square().sum(0)]))
    count, total, squares = of_all_processes(torch.stack(moments).sum(0)[None]).sum(0)
    variance = (squares / count - (total / count).square()).clamp_min(0)
    wanted = math.log(2) ** 2 * variance[1] if output == "softplus" else variance[2:].sum()
    scale = (wanted / variance[0]).sqrt().float()
    return torch.where(scale.isfinite() & (scale > 0), scale, 1)
