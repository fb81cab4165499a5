"""Grad-CAM: where in the image the performer's top maps speak for the score (the paper's control beside Fig. 5)."""

import torch
from torch import Tensor

from semexplain.explanation import Performance
from semexplain.performers.base import Performer


def grad_cam(performance: Performance) -> Tensor:
    r"""Heat of each cell: the maps after their ReLU, weighted by the mean gradient of the score.

    .. math:: v_i = \operatorname{mean}_{h,w} \frac{\partial \hat y}{\partial x_{h,w,i}}, \qquad
              \mathrm{heat} = \max\Bigl(0, \sum_i v_i \max(0, x_i)\Bigr)

    ``performer.perform(feature_map, prior=grad_cam)[1]`` gives the heat of a feature map, and
    ``performer.geometry.upsample`` puts it at the right pixels. The images of a batch must not influence one another
    (a performer in evaluation mode).

    Args:
        performance: Score ``(B,)`` with the graph that leads back to ``feature`` ``(B, n, H, W)``. The graph is kept.

    Returns:
        ``(B, H, W)``, not negative, detached.

    Raises:
        ValueError: If ``feature`` is not a stack of maps, or the score does not depend on it.

    Example:
        >>> x = torch.tensor([[[[1.0, 2.0]], [[5.0, 1.0]]]], requires_grad=True)
        >>> score = 4 * x[:, 0].sum((1, 2)) - x[:, 1].sum((1, 2))
        >>> grad_cam(Performance(score, x.sum((2, 3)), x, x))  # 4 * 1 - 5 and 4 * 2 - 1
        tensor([[[0., 7.]]])
    """
    score, _, feature, _ = performance
    return _heat(feature, _gradient(score, feature))


def _gradient(score: Tensor, feature: Tensor) -> Tensor:
    try:
        (gradient,) = torch.autograd.grad(score.sum(), feature, retain_graph=True)
    except RuntimeError as error:
        raise ValueError(f"`score` does not depend on `feature` in a way that has a gradient: {error}") from error
    return gradient


def _heat(feature: Tensor, gradient: Tensor) -> Tensor:
    if feature.ndim != 4:
        raise ValueError(
            f"Grad-CAM needs feature maps (B, n, H, W), but `feature` has the shape {tuple(feature.shape)}."
        )
    weights = gradient.mean((2, 3))
    return torch.einsum("bi,bihw->bhw", weights, feature.detach().relu()).relu()


def score_heat(performer: Performer, feature_map: Tensor) -> Tensor:
    """Grad-CAM of a performer's score at its feature map, whatever lies between that and the score.

    Args:
        performer: A frozen performer.
        feature_map: Output of ``performer.encode``; the heat is that of its view ``(B, C, H, W)``.

    Returns:
        ``(B, H, W)``, not negative, detached.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(feature_map.device.type, enabled=False):
        leaf = feature_map.detach().float().clone().requires_grad_()
        gradient = _gradient(performer.head(performer.feature(leaf))[0], leaf)
        return _heat(performer.view(leaf), performer.view(gradient))
