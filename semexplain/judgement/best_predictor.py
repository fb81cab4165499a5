"""How well the best predictor from the concepts alone does: what an explanation that adds up has to keep up with."""

import torch
from torch import Tensor

FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-6, 4))  # as a share of the kernel's mean diagonal


def predicted(concepts: Tensor, score: Tensor) -> Tensor:
    r"""Scores as the best of several regressions on the concepts predicts them, of images it was not fitted on.

    Kernel ridge regressions, linear and with a Gaussian kernel of the standardised strengths; kernel and penalty are
    chosen on the training images of each of five folds by their leave-one-out error,
    :math:`e_I / (1 - H_{II})` with the hat matrix H.

    Args:
        concepts: ``(N, n)``.
        score: ``(N,)``.

    Returns:
        ``(N,)``, float64.

    Example:
        >>> concepts = torch.linspace(-1, 1, 50)[:, None]
        >>> bool((predicted(concepts, concepts[:, 0] ** 2) - concepts[:, 0] ** 2).abs().max() < 0.05)
        True
    """
    z, y = concepts.double(), score.double()
    z = (z - z.mean(0)) / z.std(0, correction=0).clamp_min(1e-12)
    products = z @ z.T
    squares = products.diagonal()[:, None] + products.diagonal() - 2 * products
    kernels = (products, torch.exp(-squares.clamp_min(0) / (2 * max(1, z.shape[1]))))
    fold = torch.arange(len(y)) % FOLDS
    result = y.new_empty(len(y))
    for number in range(min(FOLDS, len(y))):
        held, kept = (fold == number).nonzero()[:, 0], (fold != number).nonzero()[:, 0]
        centred = [_centred(kernel, held, kept) for kernel in kernels]
        fits = [_fit(inner, y[kept]) for inner, _ in centred]
        best = min(range(len(kernels)), key=lambda k: fits[k][0])
        result[held] = y[kept].mean() + centred[best][1] @ fits[best][1]
    return result


def _centred(kernel: Tensor, held: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """A kernel among the images that are kept, and from the others to them, measured from the mean of the former."""
    inner, cross = kernel[kept][:, kept], kernel[held][:, kept]
    columns, mean = inner.mean(0), inner.mean()
    return inner - columns - columns[:, None] + mean, cross - cross.mean(1, keepdim=True) - columns + mean


def _fit(kernel: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Leave-one-out error and dual coefficients of the penalty that is best by it."""
    values, vectors = torch.linalg.eigh(kernel)
    values, target = values.clamp_min(0), y - y.mean()
    turned = vectors.T @ target
    size = kernel.diagonal().mean().clamp_min(1e-12)
    candidates = []
    for penalty in PENALTIES:
        inverse = 1 / (values + penalty * size)
        coefficients = vectors @ (inverse * turned)
        kept = (vectors.square() @ inverse) * penalty * size  # 1 - H_II
        error = (penalty * size * coefficients / kept.clamp_min(1e-12)).abs().mean()
        candidates.append((float(error), coefficients))
    return min(candidates, key=lambda candidate: candidate[0])
