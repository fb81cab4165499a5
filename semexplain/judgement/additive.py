"""Games in which concepts add up: then one gradient tells what is lost without each of thousands of them."""

import torch
from torch import Tensor

from semexplain.concepts.base import Game

SUBSETS, SINGLES = 8, 8  # states of each image by which a game is tried
ROUNDING = 1e-5  # share of the score and of all slopes by which a state may be off


def additive_effects(game: Game, present: Tensor) -> Tensor | None:
    r"""What each image's score loses without each concept, if the concepts add up; None if they do not.

    With the slopes :math:`g = \partial v / \partial m` where all concepts are present, they add up if

    .. math:: v(m) = v(1) - \sum_i (1 - m_i)\, g_i

    and then :math:`v(1) - v(1 - e_i) = g_i`. So it is where nothing but sums, and functions of each concept by itself
    such as a ReLU, lies above them: maps, their mean and a linear layer. This is tried, not taken for granted: for each
    image with eight random halves of the concepts and with eight single ones, to
    :math:`10^{-5} (|v(1)| + \sum_i |g_i|)`, which is what single precision leaves of such a sum.

    Args:
        game: Of a batch.
        present: Ones ``(B, n)``, where the game is played.

    Returns:
        ``(B, n)``.

    Example:
        >>> slopes = torch.tensor([[3.0, -1.0]])
        >>> additive_effects(lambda present: (present * slopes).sum(-1), torch.ones(1, 2))
        tensor([[ 3., -1.]])
        >>> additive_effects(lambda present: present.prod(-1), torch.ones(1, 2)) is None
        True
    """
    with torch.inference_mode(False):
        everything = torch.ones_like(present)[None].requires_grad_()
        try:
            with torch.enable_grad():
                whole = game(everything)
                (slopes,) = torch.autograd.grad(whole.sum(), everything)
        except RuntimeError:  # a network without gradients
            return None
        whole, slopes = whole[0].detach().double(), slopes[0].double()
        size = whole.abs() + slopes.abs().sum(1)
        with torch.no_grad():
            for away in _away(present):
                off = whole - game(1 - away[None])[0].double() - (away * slopes).sum(1)
                if not bool((off.abs() <= ROUNDING * size).all()):
                    return None
    return slopes.float()


def _away(present: Tensor) -> Tensor:
    """Which concepts are away in the states that are tried, ``(T, B, n)``."""
    generator = torch.Generator().manual_seed(0)
    images, n = present.shape
    halves = torch.rand(SUBSETS, images, n, generator=generator) < 0.5
    singles = torch.randint(n, (SINGLES, images, 1), generator=generator)
    return torch.cat([halves.float(), torch.zeros(SINGLES, images, n).scatter_(2, singles, 1)]).to(present)
