"""Prior weights w: how much each concept matters to the score according to the performer's own gradients (Sec. 3.1)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from semexplain.explanation import Performance


def feature_ratio(performance: Performance, *, chunk_bytes: Annotated[int, Ge(1)] = 512 * 2**20) -> Tensor:
    r"""Weigh each concept by how far the score moves when the shared feature is nudged towards it (Case 2).

    A small step :math:`\Delta x = \epsilon\, \partial y_i / \partial x` raises concept :math:`i` by
    :math:`\epsilon \lVert \partial y_i / \partial x \rVert^2` and the score by the inner product below.

    .. math:: w_i = \frac{\langle \partial \hat y/\partial x,\ \partial y_i/\partial x \rangle}
                         {\lVert \partial y_i/\partial x \rVert^2}

    Each weight is a ratio of its own. For correlated concepts the sum of :math:`w_i y_i` is not the score: only the
    direction of ``w`` is meant to be used. The images of a batch must not influence one another (a performer in
    evaluation mode).

    Args:
        performance: Score ``(B,)`` and concepts ``(B, n)`` with the graph that leads back to ``feature`` ``(B, ...)``.
            The graph is kept.
        chunk_bytes: Memory for the gradients of the concepts. Concepts are taken as many at a time as fit, at least
            one; the result does not depend on it.

    Returns:
        Prior weights of shape ``(B, n)``, signed, detached, at least float32. A concept on which the feature has no
        influence weighs 0.

    Raises:
        ValueError: If ``chunk_bytes`` is not positive, or score or concepts do not depend on ``feature``.

    Example:
        >>> x = torch.tensor([[1.0, 1.0]], requires_grad=True)
        >>> concepts = x @ torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> score = (x @ torch.tensor([[6.0], [5.0]])).squeeze(1)
        >>> feature_ratio(Performance(score, concepts, x, x))
        tensor([[3., 5.]])
    """
    if chunk_bytes < 1:
        raise ValueError(f"`chunk_bytes` must be at least 1, got {chunk_bytes}.")
    score, concepts, feature, _ = performance
    batch, n = concepts.shape
    row_bytes = feature.numel() * max(feature.element_size(), 4)
    step = max(1, chunk_bytes // max(1, row_bytes))

    d_score = _gradient("score", score, feature, torch.ones_like(score)[None])
    # Autocast would run the reductions below in half precision.
    with torch.no_grad(), torch.autocast(feature.device.type, enabled=False):
        numerators, denominators = [], []
        for picks in torch.eye(n, device=concepts.device, dtype=concepts.dtype).split(step):
            d_concepts = _gradient("concepts", concepts, feature, picks[:, None].expand(-1, batch, -1))
            numerators.append((d_concepts * d_score).sum(-1))
            denominators.append(d_concepts.square().sum(-1))
        return _ratio(torch.cat(numerators).T, torch.cat(denominators).T)


def gradient_products(outputs: Tensor, feature: Tensor) -> Tensor:
    r"""Inner products of the gradients of all outputs with respect to ``x``, two at a time.

    .. math:: G_{ij} = \langle \partial y_i/\partial x,\ \partial y_j/\partial x \rangle

    They hold the weights of :func:`feature_ratio` for every choice of a score and its concepts among the outputs.

    Args:
        outputs: ``(B, K)`` with the graph that leads back to ``feature`` ``(B, ...)``. The graph is kept.
        feature: ``x``.

    Returns:
        ``(B, K, K)``, detached, at least float32.

    Example:
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> gradient_products(x @ torch.tensor([[6.0, 2.0], [5.0, 0.0]]), x)
        tensor([[[61., 12.],
                 [12.,  4.]]])
    """
    batch, n = outputs.shape
    picks = torch.eye(n, device=outputs.device, dtype=outputs.dtype)[:, None].expand(-1, batch, -1)
    with torch.autocast(feature.device.type, enabled=False):
        gradients = _gradient("outputs", outputs, feature, picks).transpose(0, 1)
        return gradients @ gradients.mT


def ratio_of_products(products: Tensor, target: int, concepts: Sequence[int]) -> Tensor:
    """The weights of :func:`feature_ratio` ``(B, n)`` from :func:`gradient_products` ``(B, K, K)``.

    Args:
        products: Of all outputs.
        target: The output that is the score.
        concepts: The ``n`` outputs that are the concepts.

    Example:
        >>> ratio_of_products(torch.tensor([[[61.0, 12.0], [12.0, 4.0]]]), 0, [1])
        tensor([[3.]])
    """
    indices = list(concepts)
    return _ratio(products[:, target, indices], products[:, indices, indices])


def filter_jacobian(performance: Performance, *, clamp: bool = True) -> Tensor:
    r"""Weigh each filter by how fast the score grows when its whole map is raised (Case 1, Eq. (5)).

    .. math:: w_i = \max\Bigl(0, \sum_{h,w} \frac{\partial \hat y}{\partial x_{h,w,i}}\Bigr)

    A filter's strength is the sum of its map, :math:`y_i = \sum_{h,w} x_{h,w,i}`. The paper's factor 1/Z is the same
    for all filters and is left out: prior losses compare directions. One gradient serves the whole batch, because the
    images of a batch do not influence one another (a performer in evaluation mode).

    Args:
        performance: Score ``(B,)`` with the graph that leads back to ``feature`` ``(B, n, H, W)``. The graph is kept.
        clamp: Replace negative weights by 0, as the cross-entropy needs.

    Returns:
        Prior weights of shape ``(B, n)``, detached, at least float32.

    Raises:
        ValueError: If the score does not depend on ``feature``, or ``feature`` is not a stack of maps.

    Example:
        >>> x = torch.ones(1, 2, 2, 2, requires_grad=True)
        >>> score = 3 * x[:, 0].sum((1, 2)) - x[:, 1].sum((1, 2))
        >>> filter_jacobian(Performance(score, x.sum((2, 3)), x, x))
        tensor([[12.,  0.]])
    """
    weights = feature_gradient(performance).sum((2, 3))
    return weights.clamp_min(0) if clamp else weights


def feature_gradient(performance: Performance) -> Tensor:
    """Gradient of the score with respect to ``feature``, of its shape ``(B, n, H, W)``, detached, at least float32."""
    score, _, feature, _ = performance
    if feature.ndim != 4:
        raise ValueError(
            f"Filters are weighed on feature maps (B, n, H, W), but `feature` has the shape {tuple(feature.shape)}. "
            "Use `prior=feature_ratio` for this performer."
        )
    return _gradient("score", score, feature, torch.ones_like(score)[None])[0].unflatten(1, feature.shape[1:])


def _gradient(name: str, output: Tensor, feature: Tensor, picks: Tensor) -> Tensor:
    """Gradients of ``output`` with respect to ``feature``, one for each of ``picks``: ``(k, B, d)``."""
    advice = (
        f"`{name}` does not depend on `feature`, so it has no gradient there. Compute `{name}` from `feature` after "
        "`feature.requires_grad_()`, with gradients enabled and outside inference mode "
        "(in a trainer: `inference_mode=False`)."
    )
    if not (output.requires_grad and feature.requires_grad):
        raise ValueError(advice)
    (gradient,) = torch.autograd.grad(
        output, feature, picks, retain_graph=True, is_grads_batched=True, allow_unused=True
    )
    if gradient is None:
        raise ValueError(advice)
    return gradient.detach().to(torch.promote_types(gradient.dtype, torch.float32)).flatten(2)


def _ratio(numerators: Tensor, denominators: Tensor) -> Tensor:
    return torch.where(denominators > 0, numerators / denominators, 0)
