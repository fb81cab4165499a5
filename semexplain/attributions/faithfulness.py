"""Scores of an image with some of its concepts taken away: what metrics of faithfulness compare.

All are functions of a game and of the contributions that are put to the test. Nothing here depends on how images are
grouped into batches: what is random is drawn for the concepts, once, from a fixed seed.
"""

import torch
from torch import Tensor

from semexplain.concepts.base import Game

IMAGES_AT_ONCE = 256  # that go through the head together, so that memory does not grow with the number of states


def concept_curves(game: Game, contributions: Tensor, steps: int = 20) -> tuple[Tensor, Tensor]:
    r"""Scores while concepts are taken away, and while they are put back, the largest contributions first.

    The order is that of :math:`\phi_i\, \mathrm{sign}(v(\mathrm{all}) - v(\mathrm{none}))`, largest first. For an image
    whose concepts raise its score that is the order of the contributions; for one whose concepts lower it, what lowers
    it most comes first. So a good order always leads to the other end soon.

    Args:
        game: From what is present ``(..., B, n)`` to scores ``(..., B)``.
        contributions: ``(B, n)``.
        steps: T, at most; with fewer concepts every one is a step, with more a step takes a group of them, whose sizes
            differ by at most one.

    Returns:
        Deletion and insertion, ``(B, T + 1)`` each, from the state before the first step to that after the last. For
        an image whose contributions are nan, so are they.

    Raises:
        ValueError: If there is no step.

    Example:
        >>> game = lambda present: present @ torch.tensor([1.0, 5.0, 2.0])
        >>> concept_curves(game, torch.tensor([[0.1, 0.3, 0.2]]))
        (tensor([[8., 3., 1., 0.]]), tensor([[0., 5., 7., 8.]]))
    """
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1, got {steps}: concepts are taken away in that many steps.")
    n = contributions.shape[1]
    steps = min(steps, n)
    with_all, with_none = end_scores(game, contributions)
    toward = (with_all - with_none).sign()[:, None] * contributions
    rank = toward.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    step = rank * steps // n
    numbers = torch.arange(steps + 1, device=step.device)[:, None, None]
    presence = (step >= numbers).to(contributions.dtype)
    deletion, insertion = _scores(game, torch.cat([presence, 1 - presence])).T.split(steps + 1, dim=1)
    nan_rows = contributions.isnan().any(1, keepdim=True)
    return torch.where(nan_rows, torch.nan, deletion), torch.where(nan_rows, torch.nan, insertion)


def subset_effects(game: Game, contributions: Tensor, count: int = 32) -> tuple[Tensor, Tensor]:
    """Summed contributions of random subsets of concepts, and how far the score drops without each subset.

    Args:
        game: From what is present ``(..., B, n)`` to scores ``(..., B)``.
        contributions: ``(B, n)``.
        count: How many subsets, K.

    Returns:
        Sums of contributions and drops of the score, ``(B, K)`` each, for the subsets of :func:`random_subsets`.

    Example:
        >>> game = lambda present: present @ torch.tensor([1.0, 5.0, 2.0])
        >>> given, drops = subset_effects(game, torch.tensor([[1.0, 5.0, 2.0]]), count=8)
        >>> torch.allclose(given, drops)
        True
    """
    subsets = random_subsets(contributions.shape[1], count).to(contributions)
    present = 1 - torch.cat([torch.zeros_like(subsets[:1]), subsets])  # first everything
    scores = _scores(game, present[:, None].expand(-1, *contributions.shape)).T
    return contributions @ subsets.T, scores[:, :1] - scores[:, 1:]


def random_subsets(n: int, count: int = 32) -> Tensor:
    """Which of ``n`` concepts are in each of ``count`` subsets, bool ``(count, n)``; always the same ones.

    Each has a quarter of the concepts, at least one: few enough to leave the performer an image like those it knows,
    and enough for concepts that act together to be missed together. They are drawn one by one and may repeat.

    Raises:
        ValueError: If there are fewer than two.

    Example:
        >>> random_subsets(8, 100).sum(1).unique()
        tensor([2])
    """
    if count < 2:
        raise ValueError(f"`count` must be at least 2, got {count}: one subset has nothing to correlate with.")
    numbers = torch.rand(count, n, generator=torch.Generator().manual_seed(0))
    return numbers.argsort(dim=1).argsort(dim=1) < max(1, round(n / 4))


def end_scores(game: Game, contributions: Tensor) -> tuple[Tensor, Tensor]:
    """Scores with all concepts and with none, ``(B,)`` each.

    Args:
        game: From what is present ``(..., B, n)`` to scores ``(..., B)``.
        contributions: ``(B, n)``; only their shape matters.

    Example:
        >>> end_scores(lambda present: 3 + present.sum(-1), torch.zeros(1, 2))
        (tensor([5.]), tensor([3.]))
    """
    all_present = torch.ones_like(contributions)
    with_all, with_none = _scores(game, torch.stack([all_present, torch.zeros_like(all_present)]))
    return with_all, with_none


def noisy_maps(feature_map: Tensor, count: int = 2, size: float = 1e-2) -> Tensor:
    """Feature maps with a little Gaussian noise ``(count, B, ...)``.

    Args:
        feature_map: ``(B, ...)``.
        count: How many noisy maps of each image.
        size: Standard deviation of the noise, as a share of that of an image's map.

    Example:
        >>> maps = noisy_maps(torch.randn(3, 4, 5, 5), size=0.0)
        >>> maps.shape
        torch.Size([2, 3, 4, 5, 5])
    """
    noise = torch.randn(count, 1, *feature_map.shape[1:], generator=torch.Generator().manual_seed(0))
    deviation = feature_map.float().std(dim=tuple(range(1, feature_map.ndim)), keepdim=True)
    return feature_map.float() + size * deviation * noise.to(deviation)


def _scores(game: Game, present: Tensor) -> Tensor:
    """Scores ``(K, B)`` of K states ``(K, B, n)``, some at a time."""
    at_once = max(1, IMAGES_AT_ONCE // max(1, present.shape[1]))
    with torch.no_grad():
        return torch.cat([game(states) for states in present.split(at_once)])
