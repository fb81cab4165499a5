"""Exact Shapley values of a game of a few concepts, from its value for every coalition of them."""

from math import comb

import torch
from torch import Tensor


def coalitions(k: int) -> Tensor:
    """All sets of ``k`` concepts: concept i is in coalition s if bit i of the number s is set.

    So the first concept is the lowest bit, coalition 0 is empty and the last one is full.

    Returns:
        bool ``(2**k, k)``.

    Example:
        >>> coalitions(2).int()
        tensor([[0, 0],
                [1, 0],
                [0, 1],
                [1, 1]], dtype=torch.int32)
    """
    return (torch.arange(2**k)[:, None] >> torch.arange(k)) % 2 == 1


def shapley_values(values: Tensor) -> Tensor:
    r"""What each concept adds to the value of a coalition, averaged over all orders in which they may join.

    .. math:: \phi_i = \sum_{S \not\ni i} \frac{|S|!\,(k - |S| - 1)!}{k!} \bigl(v(S \cup \{i\}) - v(S)\bigr)

    They add up to what all concepts together gain over none (efficiency). Shapley, "A value for n-person games", 1953.

    Args:
        values: ``(B, 2**k)``. Value v of every coalition, in the order of :func:`coalitions`.

    Returns:
        ``(B, k)``, of the type of ``values``; computed in float64.

    Raises:
        ValueError: If the number of columns is no power of 2.

    Example:
        One player has a left glove, two have a right one, and a pair is worth 1.

        >>> pairs = torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]])
        >>> shapley_values(pairs)
        tensor([[0.6667, 0.1667, 0.1667]])
    """
    inside = coalitions(_concepts(values))
    k = inside.shape[1]
    size = inside.sum(1, keepdim=True) - inside.long()  # of the coalition without the concept
    # |S|! (k - |S| - 1)! / k! = 1 / (k C(k - 1, |S|))
    share = torch.tensor([1 / (k * comb(k - 1, s)) for s in range(k)], dtype=torch.float64)
    weights = torch.where(inside, 1, -1) * share[size]
    return (values.double() @ weights.to(values.device)).to(values.dtype)


def interventional(scores: Tensor, state: Tensor, rates: Tensor) -> Tensor:
    r"""The game in which concepts outside a coalition are drawn anew, each by itself with its own rate.

    .. math:: v(S) = \mathbb{E}_{b_i \sim \mathrm{Bernoulli}(r_i)}\, \hat y(a_S, b_{\bar S})

    With a rate of 0 a concept outside the coalition is absent. Janzing et al., "Feature relevance quantification in
    explainable AI: a causal problem", 2020.

    Args:
        scores: ``(B, 2**k)``. Score of each image in every state of its ``k`` concepts: in state s concept i is present
            if bit i of s is set, as in :func:`coalitions`.
        state: bool ``(B, k)``. Which concepts a the image has.
        rates: ``(k,)``. How often each concept is present, 0..1.

    Returns:
        Value of every coalition ``(B, 2**k)``, of the type of ``scores``; computed in float64.

    Raises:
        ValueError: If shapes do not fit each other, or a rate is no probability.

    Example:
        A score that counts, for an image with the first concept only. The empty coalition has what is expected of both.

        >>> scores, state = torch.tensor([[0.0, 1.0, 1.0, 2.0]]), torch.tensor([[True, False]])
        >>> interventional(scores, state, torch.tensor([0.5, 0.2]))
        tensor([[0.7000, 1.2000, 0.5000, 1.0000]])
    """
    k = _concepts(scores)
    if state.shape != (len(scores), k) or rates.shape != (k,):
        raise ValueError(
            f"For scores of the shape {tuple(scores.shape)}, `state` must be {(len(scores), k)} and `rates` {(k,)}, "
            f"got {tuple(state.shape)} and {tuple(rates.shape)}."
        )
    if not bool(((rates >= 0) & (rates <= 1)).all()):
        raise ValueError(f"`rates` must lie between 0 and 1, got {rates.tolist()}.")
    values = scores.double()
    for i, rate in enumerate(rates.double().tolist()):
        # One concept after the other turns from a state into a membership: bit i lies between the higher and the lower.
        absent, present = values.view(len(scores), 2 ** (k - 1 - i), 2, 2**i).unbind(2)
        own = torch.where(state[:, i].view(-1, 1, 1).bool(), present, absent)
        values = torch.stack([(1 - rate) * absent + rate * present, own], dim=2)
    return values.reshape(scores.shape).to(scores.dtype)


def _concepts(table: Tensor) -> int:
    """``k`` of a table ``(B, 2**k)``."""
    if table.ndim != 2 or table.shape[1].bit_count() != 1:
        raise ValueError(
            f"Expected a row of 2**k numbers for each image, one for every coalition of k concepts, got the shape "
            f"{tuple(table.shape)}."
        )
    return table.shape[1].bit_length() - 1
