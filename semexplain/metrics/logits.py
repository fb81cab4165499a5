"""Whether a performer's scores are logits, the values before a sigmoid or softmax: only these are sums."""

from torch import Tensor

FEW = 10  # fewer scores may all lie between 0 and 1 by chance
ENOUGH = 50
WIDE = 0.5
SATURATED = 0.1


def doubt(count: int, lowest: float, highest: float, ends_of_one: int, ends_of_hundred: int) -> str:
    r"""Why scores can hardly be logits, in one sentence; empty if they can.

    The score of a decision is negative where the network says no, and above 1 where it is sure. At least 10 scores are
    doubted if all of them lie in [0, 1], and if they

    * spread over at least half of it, such as 0.15 to 0.85, or
    * are exactly 0 or 1 in at least a tenth of the cases, as saturated probabilities are, or
    * are at least 50, in however narrow a band: a network that never says no is not worth explaining either;

    or if all lie in [0, 100], reach above 90, and begin below 10 or are exactly 0 or 100 in at least a tenth of the
    cases: percentages. Percentages in a narrower band cannot be told from large logits.

    Fewer than 10 are never doubted. Logits with mean and standard deviation 1/2 lie in (0, 1) with a probability of
    0.68: ten of them all do in 2 of 100 cases, fifty in 1 of a hundred million.

    Args:
        count: How many scores there are.
        lowest: The least.
        highest: The largest.
        ends_of_one: How many are exactly 0 or 1.
        ends_of_hundred: How many are exactly 0 or 100.

    Example:
        >>> doubt(200, 0.15, 0.85, 0, 0)
        'All 200 scores of the performer lie between 0 and 1, as after a sigmoid or softmax'
        >>> doubt(40, 0.3, 1.0, 12, 0)
        'All 40 scores of the performer lie between 0 and 1, 12 of them exactly there, as after a sigmoid or softmax'
        >>> doubt(200, -1.5, 0.85, 0, 0), doubt(9, 0.15, 0.85, 0, 0), doubt(20, 0.2, 0.3, 0, 0)
        ('', '', '')
    """
    if count < FEW or not lowest >= 0:
        return ""
    if highest <= 1:
        top, ends, like = 1, ends_of_one, "as after a sigmoid or softmax"
        doubted = highest - lowest >= WIDE or ends >= SATURATED * count or count >= ENOUGH
    else:
        top, ends, like = 100, ends_of_hundred, "as percentages do"
        doubted = 90 < highest <= 100 and (lowest < 10 or ends >= SATURATED * count)
    exactly = f", {ends} of them exactly there" if ends >= SATURATED * count else ""
    return f"All {count} scores of the performer lie between 0 and {top}{exactly}, {like}" if doubted else ""


def at_ends(score: Tensor, top: float) -> Tensor:
    """How many scores ``(B,)`` are exactly 0 or ``top``.

    Example:
        >>> import torch
        >>> at_ends(torch.tensor([0.0, 0.5, 1.0, 1.0]), 1)
        tensor(3)
    """
    return ((score == 0) | (score == top)).sum()
