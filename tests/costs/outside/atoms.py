"""A kind of concept from outside the package: atoms of a fixed non-negative dictionary on a feature map."""

import hashlib
from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor

from semexplain.concepts.base import ConceptKind, Game
from semexplain.concepts.losses import prior_l2
from semexplain.concepts.network import Network
from semexplain.concepts.priors import feature_gradient
from semexplain.explanation import Performance


class Atoms(ConceptKind):
    r"""Each cell of x is a sum of atoms with non-negative shares, and of something that is none of them.

    .. math:: x_{h,w} = \sum_i u_{i,h,w} d_i + r_{h,w}, \qquad u = \max(0, D^+ x), \qquad y_i = \sum_{h,w} u_{i,h,w}

    Args:
        file: A ``.safetensors`` file with the ``dictionary`` ``(n, C)``.
    """

    noun = "atom"

    def __init__(self, file: str) -> None:
        self.dictionary = load_file(file)["dictionary"]
        if bool((self.dictionary < 0).any()):
            raise ValueError(f"The dictionary in {file} has negative entries; atoms are non-negative.")
        self.inverse = torch.linalg.pinv(self.dictionary)

    @property
    def variant(self) -> str:
        return f"atoms {hashlib.sha256(self.dictionary.numpy().tobytes()).hexdigest()}"

    def names(self, network: Network) -> tuple[str, ...]:
        if network.feature_shape[0] != self.dictionary.shape[1] or len(network.feature_shape) != 3:
            raise ValueError(f"Atoms of {self.dictionary.shape[1]} channels do not fit maps {network.feature_shape}.")
        return tuple(f"atom_{i:02d}" for i in range(len(self.dictionary)))

    def shares(self, feature: Tensor) -> Tensor:
        return torch.einsum("bchw,cn->bnhw", feature, self.inverse.to(feature)).relu()

    def strengths(self, network: Network, feature: Tensor, outputs: Tensor) -> Tensor:
        return self.shares(feature).sum((2, 3))

    def game(self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None) -> Game:
        chosen = list(columns)
        atoms = torch.einsum("bnhw,nc->bnchw", self.shares(feature)[:, chosen], self.dictionary[chosen].to(feature))

        def score(present: Tensor) -> Tensor:
            without = feature - torch.einsum("...bn,bnchw->...bchw", 1 - present, atoms)
            return network.head(without.flatten(0, -4))[0].view(present.shape[:-1])

        return score

    def prior(self, performance: Performance) -> Tensor:
        return torch.einsum("bchw,nc->bn", feature_gradient(performance), self.dictionary.to(performance.feature))

    def prior_loss(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        return prior_l2(raw, weights, prior)

    def maps(self, feature: Tensor) -> Tensor:
        return self.shares(feature)
