"""The two records all parts speak: what the performer computed, and how it is explained (Eq. (1))."""

from typing import NamedTuple

from torch import Tensor


class Performance(NamedTuple):
    """What a performer computed for a batch of images, before any explanation.

    Attributes:
        score: ``(B,)``. The target's score before a sigmoid or softmax.
        concepts: ``(B, n)``. How strongly each concept is present.
        feature: ``(B, ...)``. The tensor x at which priors are taken. For priors it is a leaf that requires a gradient,
            and both ``score`` and ``concepts`` depend on it.
        feature_map: ``(B, C, H, W)``. The top convolutional map, input of the explainer.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        >>> performance = Performance(score=x.sum(1), concepts=3 * x, feature=x, feature_map=x[:, :, None, None])
        >>> performance.concepts.detach()
        tensor([[3., 6.]])
    """

    score: Tensor
    concepts: Tensor
    feature: Tensor
    feature_map: Tensor


class Explanation(NamedTuple):
    r"""The score of each image, split into one contribution per concept.

    .. math:: \hat y \approx \sum_i \alpha_i y_i + b \qquad \text{(Eq. (1))}

    The bias belongs to no concept: it moves the prediction and never a contribution.

    Attributes:
        score: ``(B,)``. The performer's score.
        concepts: ``(B, n)``. Strength y of each concept.
        weights: ``(B, n)``. Weight alpha that the explainer gives each concept of this image.
        bias: ``()``. One number b for all images.

    Example:
        >>> import torch
        >>> explanation = Explanation(
        ...     score=torch.tensor([6.0]),
        ...     concepts=torch.tensor([[1.0, -2.0]]),
        ...     weights=torch.tensor([[3.0, 0.5]]),
        ...     bias=torch.tensor(1.0),
        ... )
        >>> explanation.contributions, explanation.prediction, explanation.residual
        (tensor([[ 3., -1.]]), tensor([3.]), tensor([3.]))
    """

    score: Tensor
    concepts: Tensor
    weights: Tensor
    bias: Tensor

    @property
    def contributions(self) -> Tensor:
        """What each concept adds to the score, alpha times y, ``(B, n)``."""
        return self.weights * self.concepts

    @property
    def prediction(self) -> Tensor:
        """The score as the explainer sees it: all contributions and the bias, ``(B,)``."""
        return self.contributions.sum(1) + self.bias

    @property
    def residual(self) -> Tensor:
        """The part of the score that is left unexplained, score minus prediction, ``(B,)``."""
        return self.score - self.prediction
