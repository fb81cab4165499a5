"""Case 1: the concepts are filters, the maps of the feature x (Sec. 3.1)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from semexplain.concepts.base import ConceptKind, Game
from semexplain.concepts.filter_names import names_in, numbered, require_names
from semexplain.concepts.losses import prior_cross_entropy
from semexplain.concepts.network import Network
from semexplain.concepts.priors import filter_jacobian
from semexplain.explanation import Performance


class Filters(ConceptKind):
    """Every map of x is a concept, as strong as the sum of the map; one that is taken away is 0 everywhere.

    Args:
        names: What the maps are called: a table, see :func:`~semexplain.concepts.filter_names.names_in`, or a name for
            each; ``filter_012`` by default.
    """

    noun = "filter"
    own_maps = True

    def __init__(self, names: str | Path | list[str] | tuple[str, ...] | None = None) -> None:
        self.given = names

    def names(self, network: Network) -> tuple[str, ...]:
        """The maps by number, or as they are called.

        Raises:
            ValueError: If x has no maps, or names were given that are not theirs.
        """
        shape = network.grid(torch.zeros(1, *network.feature_shape)).shape[1:]
        if len(shape) != 3:
            raise ValueError(
                f"Filters are maps, but `x` of {type(network).__name__} has the shape {network.feature_shape} for an "
                "image. Explain this network by its other outputs (`case=outputs`)."
            )
        if self.given is None:
            return numbered(shape[0])
        if isinstance(self.given, str | Path):
            return names_in(Path(self.given), getattr(network, "layers_read", ()), shape[0])
        return require_names(self.given, shape[0])

    def strengths(self, network: Network, feature: Tensor, outputs: Tensor) -> Tensor:
        """The sum of every map ``(B, n)``, at least float32."""
        return network.grid(feature).sum((2, 3), dtype=torch.promote_types(feature.dtype, torch.float32))

    def game(self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None) -> Game:
        """See :func:`filter_game`."""
        return filter_game(lambda grid: network.head(network.with_grid(feature, grid)), network.grid(feature), columns)

    def prior(self, performance: Performance) -> Tensor:
        """See :func:`~semexplain.concepts.priors.filter_jacobian`."""
        return filter_jacobian(performance)

    def prior_loss(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        """Weights are positive and compared as shares, see :func:`~semexplain.concepts.losses.prior_cross_entropy`."""
        return prior_cross_entropy(raw, weights, prior)

    def maps(self, grid: Tensor) -> Tensor:
        """The maps after a ReLU."""
        return grid.relu()


def filter_game(head: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, columns: Sequence[int]) -> Game:
    r"""Concepts are maps of a feature (Case 1): one that is taken away is 0 everywhere.

    .. math:: v(m) = \hat y(m_i x_i)

    Filters that are no concept stay as they are.

    Args:
        head: From features ``(B, C, H, W)`` to scores and concepts.
        x: Features ``(B, C, H, W)``.
        columns: Which of the ``C`` maps are the ``n`` concepts.

    Example:
        >>> x = torch.tensor([[[[2.0]], [[5.0]]]])
        >>> game = filter_game(lambda x: (x.sum((1, 2, 3)), x.sum((2, 3))), x, [0, 1])
        >>> game(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]]))
        tensor([[7.],
                [5.]])
    """
    channels = list(columns)

    def score(present: Tensor) -> Tensor:
        factors = torch.ones(*present.shape[:-1], x.shape[1], dtype=present.dtype, device=present.device)
        factors[..., channels] = present
        features = factors[..., None, None] * x
        return head(features.flatten(0, -4))[0].view(present.shape[:-1])

    return score
