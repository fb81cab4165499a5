"""Concept activation vectors for single images: the slope along a concept times its strength."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.question import Question
from semexplain.concepts.network import Network


class ConceptVectors(Attribution):
    r"""The directional derivative of TCAV (Kim et al. 2018) times the projection, from the mean training image.

    .. math:: \phi_i = \langle \nabla_x \hat y,\ u_i \rangle\, \langle x - \bar x,\ u_i \rangle

    The unit vector :math:`u_i` is a linear probe that tells from x whether the performer sees the concept,
    :math:`y_i > 0`. A filter's is its own axis, the same at every place of its map. The directions of
    different concepts are not orthogonal, so the contributions need not add up.

    Args:
        training_images: For probes and means, spread evenly over the training split.
        ridge: Of the probes, in units of the mean squared length of x.
    """

    directions: Tensor
    mean: Tensor

    def __init__(self, training_images: Annotated[int, Ge(2)] = 2048, ridge: Annotated[float, Gt(0)] = 0.01) -> None:
        self.training_images = training_images
        self.ridge = ridge

    def fit(self, questions: Iterable[Question]) -> None:
        """Fit the probes, if the concepts are not filters, and the base value."""
        features, present = [], []
        for question in questions:
            if not question.kind.own_maps:
                features.append(question.feature.flatten(1))
                present.append(question.strengths > 0)
        if features:
            x = torch.cat(features)
            self.directions, self.mean = probes(x, torch.cat(present), self.ridge), x.mean(0)
        super().fit(questions)

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        x = question.feature
        slope = score_gradient(question.network, x)
        if question.kind.own_maps:
            return question.network.grid(slope).mean((2, 3))[:, question.columns] * (
                question.strengths - question.reference
            )
        along = slope.flatten(1) @ self.directions.T
        return along * ((x.flatten(1) - self.mean) @ self.directions.T)


def score_gradient(network: Network, feature: Tensor) -> Tensor:
    """Gradient of the score with respect to x, of its shape."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = feature.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network.head(leaf)[0].sum(), leaf)
    return gradient


def probes(feature: Tensor, present: Tensor, ridge: float) -> Tensor:
    r"""Unit vectors along which a ridge classifier tells each concept's images from the others.

    .. math:: u \propto X^\top \bigl(X X^\top + \lambda I\bigr)^{-1} t

    with centred features X and centred signs t. A concept that all images have, or none, gets the vector 0.

    Args:
        feature: ``(N, d)``.
        present: bool ``(N, n)``.
        ridge: λ as a share of the mean diagonal of :math:`X X^\top`.

    Returns:
        ``(n, d)``.

    Example:
        >>> x = torch.tensor([[0.0, 5.0], [2.0, 5.0], [0.0, 7.0], [2.0, 7.0]])
        >>> probes(x, x > torch.tensor([1.0, 6.0]), ridge=0.01)
        tensor([[1., 0.],
                [0., 1.]])
    """
    x = feature.double() - feature.double().mean(0)
    signs = present.double() - present.double().mean(0)
    products = x @ x.T
    size = products.diagonal().mean()
    products.diagonal().add_(torch.where(size > 0, ridge * size, 1))  # features that never vary: all vectors are 0
    vectors = (x.T @ torch.linalg.solve(products, signs)).T
    lengths = vectors.norm(dim=1, keepdim=True)
    varies = (present.any(0) & ~present.all(0))[:, None]
    return torch.where(varies, vectors / lengths.clamp(min=torch.finfo(lengths.dtype).tiny), 0).float()
