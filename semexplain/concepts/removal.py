"""What the performer would say of an image if some of its concepts were taken away: the function that rivals attribute.

Every way of asking "how much did this concept contribute" takes concepts away and looks at the score. How a concept is
taken away depends on what it is; that is decided here, once, for all methods and all measures of faithfulness.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from semexplain.performers.base import Performer, SharedOutputs

# From how much of each concept is present ``(..., B, n)``, 1 as in the image and 0 taken away, to scores ``(..., B)``.
# Differentiable: present may be anything between.
Game = Callable[[Tensor], Tensor]
RIDGE = 1e-3


def game_of(performer: Performer, feature_map: Tensor, columns: Sequence[int], reference: Tensor | None = None) -> Game:
    """The game that a performer plays on a batch of feature maps ``(B, C, H, W)``: that of its filters or its outputs.

    Args:
        performer: Frozen.
        feature_map: Output of its ``encode``.
        columns: The ``n`` concepts.
        reference: ``(n,)``. What a concept has when it is taken away, for outputs of the head; their mean over the
            training images.
    """
    with torch.inference_mode(False), torch.no_grad():
        x = performer.feature(feature_map.float().clone())
    if isinstance(performer, SharedOutputs):
        if reference is None:
            raise ValueError("Outputs of a head are taken away by setting them to a `reference`: give their means.")
        return output_game(performer.head, x, columns, reference)
    return filter_game(performer.head, x, columns)


def filter_game(head: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, columns: Sequence[int]) -> Game:
    r"""Concepts are maps of a feature (Case 1): one that is taken away is 0 everywhere.

    .. math:: v(m) = \hat y(m_i x_i)

    Filters that are no concept stay as they are.

    Args:
        head: From features ``(B, C, H, W)`` to scores and concepts.
        x: Features ``(B, C, H, W)``.
        columns: Which of the ``C`` maps are the ``n`` concepts.

    Example:
        >>> x = torch.tensor([[[[2.0]], [[5.0]]]])
        >>> game = filter_game(lambda x: (x.sum((1, 2, 3)), x.sum((2, 3))), x, [0, 1])
        >>> game(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]]))
        tensor([[7.],
                [5.]])
    """
    chosen = list(columns)

    def score(present: Tensor) -> Tensor:
        kept = torch.ones(*present.shape[:-1], x.shape[1], dtype=present.dtype, device=present.device)
        kept[..., chosen] = present
        features = kept[..., None, None] * x
        return head(features.flatten(0, -4))[0].view(present.shape[:-1])

    return score


def output_game(
    head: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, columns: Sequence[int], reference: Tensor
) -> Game:
    r"""Concepts are outputs of a head (Case 2): one that is taken away has its reference value, the others keep theirs.

    The shared feature x is moved as little as that takes, to first order, with :math:`J = \partial y / \partial x`:

    .. math:: v(m) = \hat y\bigl(x - J^\top (J J^\top + \epsilon I)^{-1} ((1 - m) \odot (y - \bar y))\bigr)

    The ridge :math:`\epsilon`, a thousandth of the mean diagonal of :math:`J J^\top`, keeps concepts that the feature
    cannot tell apart from moving it without bound.

    Args:
        head: From features ``(B, d)`` to scores and concepts.
        x: Features ``(B, d)``.
        columns: Which of the concepts are the ``n`` concepts.
        reference: ``(n,)``, the values of concepts that are taken away.

    Example:
        >>> x = torch.tensor([[3.0, 1.0]])
        >>> game = output_game(lambda x: (x @ torch.tensor([2.0, 1.0]), x), x, [0, 1], torch.tensor([1.0, 0.0]))
        >>> game(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])).round(decimals=2)
        tensor([[7.],
                [3.]])
    """
    chosen = list(columns)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = head(leaf)[1][:, chosen]
        picks = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)[:, None].expand(-1, len(y), -1)
        (jacobian,) = torch.autograd.grad(y, leaf, picks, is_grads_batched=True)
    jacobian = jacobian.transpose(0, 1)  # (B, n, d)
    products = jacobian @ jacobian.mT
    ridge = RIDGE * products.diagonal(dim1=1, dim2=2).mean(1)
    eye = torch.eye(products.shape[1], dtype=products.dtype, device=products.device)
    away = (y.detach() - reference.to(y))[..., None] * torch.linalg.solve(
        products + ridge[:, None, None] * eye, jacobian
    )

    def score(present: Tensor) -> Tensor:
        moved = x - torch.einsum("...bn,bnd->...bd", 1 - present, away)  # @ would copy `away` for every state
        return head(moved.flatten(0, -2))[0].view(present.shape[:-1])

    return score


def random_presence(times: int, batch: int, groups: Tensor) -> Tensor:
    """Random subsets of groups of concepts: every size is as likely as any other.

    Args:
        times: ``K`` subsets for each image.
        batch: ``B``.
        groups: ``(P, n)``. 1 where a concept belongs to a group; each belongs to one.

    Returns:
        How much of each concept is present ``(K, B, n)``, 0 or 1.

    Example:
        >>> _ = torch.manual_seed(1)
        >>> random_presence(1, 2, torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        tensor([[[1., 1., 1.],
                 [1., 1., 0.]]])
    """
    share = torch.rand(times, batch, 1, device=groups.device)
    chosen = torch.rand(times, batch, len(groups), device=groups.device) < share
    return chosen.to(groups.dtype) @ groups
