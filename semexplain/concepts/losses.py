"""What an explainer is trained for: agree with the performer (Eq. (2)) and start from its prior weights (Eq. (4)).

Both prior losses share one signature, so that either can be configured: ``raw`` is the explainer's output before its
activation and ``weights`` the output after it. Each compares directions only, image by image.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

EPS = 1e-12


def distillation(prediction: Tensor, score: Tensor) -> Tensor:
    """Mean squared distance between the explainer's prediction and the performer's score (Eq. (2)).

    It is not divided by the variance of the scores: the weight of a prior loss is relative to squared logits.

    Args:
        prediction: ``(B,)``.
        score: ``(B,)``.

    Returns:
        Mean over images, a scalar of at least float32.

    Raises:
        ValueError: If the shapes differ, which would compare every image with every other.

    Example:
        >>> distillation(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        tensor(2.)
    """
    if prediction.shape != score.shape:
        raise ValueError(
            f"`prediction` and `score` must have the same shape (B,), "
            f"got {tuple(prediction.shape)} and {tuple(score.shape)}."
        )
    return (precise(prediction) - precise(score)).square().mean()


def prior_cross_entropy(raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
    r"""How much an explainer's shares of weight differ from those of the prior (Eq. (4), positive weights).

    .. math:: -\sum_i q_i \log p_i, \qquad q = \frac{w}{\lVert w \rVert_1}, \quad
              p = \frac{\alpha}{\lVert \alpha \rVert_1}, \quad \alpha = \log(1 + e^u)

    The prior is the target and the explainer the prediction. The other way round the minimum puts all weight on one
    concept, which is the bias that a prior is meant to prevent. The least value is the entropy of q, not 0.

    Args:
        raw: ``(B, n)``. The explainer's output u before its softplus. The logarithm is taken from here, because
            the weights themselves underflow for concepts that the explainer has given up.
        weights: ``(B, n)``. The explainer's weights, only checked to be positive.
        prior: ``(B, n)``. Prior weights, not negative. An image whose prior is 0 contributes 0.

    Returns:
        Mean over all B images, a scalar of at least float32.

    Raises:
        ValueError: If ``prior`` or ``weights`` has a negative entry.

    Example:
        >>> raw = torch.tensor([[0.0, 0.0]])
        >>> prior_cross_entropy(raw, functional.softplus(raw), prior=torch.tensor([[3.0, 1.0]]))
        tensor(0.6931)
    """
    for name, values in {"prior": prior, "weights": weights}.items():
        if (values < 0).any():
            raise ValueError(
                f"`prior_cross_entropy` compares positive weights, got `{name}` with a least value of "
                f"{values.min():.4g}. Clamp the prior and end the explainer in a softplus, or use `prior_l2`."
            )
    with _full_precision(raw):
        raw, prior = precise(raw), precise(prior).detach()
        log_weights = _log_softplus(raw)
        log_share = log_weights - log_weights.logsumexp(1, keepdim=True)
        target = prior / prior.sum(1, keepdim=True).clamp_min(EPS)
        loss = -(target * log_share).sum(1)
        return torch.where(degenerate(prior, order=1), 0, loss).mean()


def prior_l2(raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
    r"""Squared distance between the directions of weights and prior (Eq. (4), signed weights).

    .. math:: \left\lVert \frac{\alpha}{\lVert \alpha \rVert_2} - \frac{w}{\lVert w \rVert_2} \right\rVert_2^2
              = 2 - 2 \cos(\alpha, w)

    The prior must keep its signs: clamped at 0 it would ask for the wrong direction. Weights that are all 0 have no
    direction and cost 2; the gradient is inversely proportional to the size of the weights, up to 2e6.

    Args:
        raw: ``(B, n)``. Not used; here so that both prior losses are called alike.
        weights: ``(B, n)``. The explainer's weights.
        prior: ``(B, n)``. Prior weights. An image whose prior is 0 contributes 0.

    Returns:
        Mean over all B images, between 0 and 4, a scalar of at least float32.

    Example:
        >>> weights = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
        >>> prior_l2(weights, weights, prior=torch.tensor([[6.0, 8.0], [0.0, -2.0]]))
        tensor(1.)
    """
    del raw
    with _full_precision(weights):
        weights, prior = precise(weights), precise(prior).detach()
        # Clamped before the root: the root has no finite gradient at 0.
        direction = weights / weights.square().sum(1, keepdim=True).clamp_min(EPS).sqrt()
        target = prior / torch.linalg.vector_norm(prior, dim=1, keepdim=True).clamp_min(EPS)
        loss = 2 - 2 * (direction * target).sum(1)
        return torch.where(degenerate(prior, order=2), 0, loss).mean()


def degenerate(prior: Tensor, *, order: Literal[1, 2]) -> Tensor:
    """Which images have no prior, because all their prior weights vanish.

    Args:
        prior: ``(B, n)``.
        order: Norm that is compared with 1e-12: 1 for the cross-entropy, 2 for the L2 loss.

    Returns:
        ``(B,)``, true where there is no prior.

    Example:
        >>> degenerate(torch.tensor([[0.0, 0.0], [0.0, -1.0]]), order=2)
        tensor([ True, False])
    """
    return torch.linalg.vector_norm(precise(prior), ord=order, dim=1) < EPS


def _log_softplus(raw: Tensor) -> Tensor:
    # Softplus is e^u for very negative u and underflows; `where` needs both branches finite for its gradient.
    low = raw.clamp(max=-15)
    return torch.where(raw < -15, low - low.exp() / 2, functional.softplus(raw.clamp(min=-15)).log())


def precise(values: Tensor) -> Tensor:
    """The values in at least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _full_precision(values: Tensor) -> torch.autocast:
    return torch.autocast(values.device.type, enabled=False)
