"""A second implementation of the prior of Case 2, for a head of three fully-connected layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def three_layer_feature_ratio(
    x: Tensor, fc2: nn.Linear, fc3: nn.Linear, target: int, concepts: Sequence[int], *, pre_relu: bool
) -> Tensor:
    r"""The weights of :func:`semexplain.concepts.priors.feature_ratio` in closed form, without a graph.

    With :math:`y = W_3\, \mathrm{relu}(W_2\, \mathrm{relu}(z_1) + b_2) + b_3`, every gradient is a row of

    .. math:: J = W_3\, \mathrm{diag}(1[W_2\, \mathrm{relu}(z_1) + b_2 > 0])\, W_2\, \mathrm{diag}(1[z_1 > 0])

    where the last factor is there only for :math:`x = z_1` (``pre_relu``), not for :math:`x = \mathrm{relu}(z_1)`.
    """
    active = fc2(x.relu() if pre_relu else x) > 0
    jacobian = (fc3.weight * active[:, None]) @ fc2.weight
    if pre_relu:
        jacobian = jacobian * (x > 0)[:, None]
    d_score, d_concepts = jacobian[:, [target]], jacobian[:, list(concepts)]
    raised = d_concepts.square().sum(-1)
    return torch.where(raised > 0, (d_concepts * d_score).sum(-1) / raised, 0)
