"""Case 2: the concepts are the other outputs of a network, which share the feature x with the score (Sec. 3.1)."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semexplain.concepts.answers import Answers, TargetAnswers
from semexplain.concepts.base import ConceptKind, Game
from semexplain.concepts.losses import prior_l2
from semexplain.concepts.network import EncodingNetwork, Network, Prior
from semexplain.concepts.priors import feature_ratio, gradient_products, ratio_of_products
from semexplain.explanation import Performance
from semexplain.system.config import suggest
from semexplain.system.rows import Derived, Rows
from semexplain.system.trouble import Trouble

RIDGE = 1e-3
GRADIENT_BYTES = 512 * 2**20


class Outputs(ConceptKind):
    """Other outputs than the target are concepts; one that is taken away has its mean over the training images.

    They may be those of a second network that shares the feature, such as another head on the same frozen backbone:
    its outputs, as functions of ``x``, explain the score of the first. That both read the same ``x`` of the same
    images, bit for bit, is tried with the first images that the network is given.

    Args:
        names: Which of them, in this order; all by default.
        network: The second network, frozen; by default the one that is explained.

    Example:
        >>> Outputs(["Smiling", "Bald"]).variant, Outputs().variant
        ("Outputs ['Smiling', 'Bald']", 'Outputs')
    """

    noun = "output"
    needs_means = True

    def __init__(
        self, names: list[str] | tuple[str, ...] | None = None, network: EncodingNetwork | None = None
    ) -> None:
        self.chosen = None if names is None else tuple(names)
        self.network = network

    @cached_property
    def variant(self) -> str:  # type: ignore[override]  # a digest of all weights is made once
        """Also which outputs, and of which network if it is another."""
        chosen = super().variant if self.chosen is None else f"{super().variant} {list(self.chosen)}"
        if self.network is None:
            return chosen
        words = f"{self.network.head_variant} {self.network.digest()}"
        return f"{chosen} of {hashlib.sha256(words.encode()).hexdigest()[:16]}"

    def names(self, network: Network) -> tuple[str, ...]:
        """The outputs but the target, in their order, or the chosen ones in theirs.

        Raises:
            ValueError: If there are none, or one is the target, unknown, or chosen twice.
        """
        if self.network is not None and self.network.feature_shape != network.feature_shape:
            raise ValueError(
                f"network: the second network reads concepts of x {self.network.feature_shape}, the first of "
                f"{network.feature_shape}. Cut both at the same layer of a backbone that they share."
            )
        told = self._telling(network).output_names
        others = told if self.network is not None else tuple(name for name in told if name != network.target_name)
        if not others:
            raise ValueError(f"{network.target_name} is the only output: there is no other that could explain it.")
        chosen = others if self.chosen is None else self.chosen
        listed = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        if not chosen:
            raise ValueError(f"names: expected some of the outputs {listed}, got none.")
        for position, name in enumerate(chosen):
            if name not in told:
                hint = suggest(name, others)
                raise ValueError(f"names: expected some of the outputs {listed}, got {name!r}{hint}.")
            if name not in others:
                raise ValueError(f"names: {name!r} is the output that is explained: leave it out.")
            if name in chosen[:position]:
                raise ValueError(f"names: {name!r} is there twice.")
        return chosen

    def _telling(self, network: Network) -> Network:
        return network if self.network is None else self.network

    def require_feature(self, feature: Tensor, image: Tensor) -> None:
        """The second network has to read the same ``x``.

        Raises:
            Trouble: If it does not.
        """
        if self.network is None:
            return
        self._move(image.device)
        with torch.no_grad():
            other = self.network.feature(self.network.encode(image))
        if not torch.equal(feature, other):
            raise Trouble(
                "network: the second network does not share the feature of the first: of the same images it reads "
                f"another x (off by {float((feature - other).abs().max()):.3g}). Its layers up to there, their weights "
                "and its `transform` must be those of the first."
            )

    def _move(self, device: torch.device) -> None:
        if self.network is not None and self.network.device != device:
            self.network.to(device)

    def strengths(self, network: Network, feature: Tensor, outputs: Tensor) -> Tensor:
        """Their values before any sigmoid ``(B, n)``."""
        if self.network is None:
            return outputs[:, concept_indices(network, self.chosen)]
        self._move(feature.device)
        told = self.network.output_names
        return self.network.outputs(feature)[:, [told.index(name) for name in self.chosen or told]]

    def game(self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None) -> Game:
        """See :func:`output_game`."""
        if reference is None:
            raise ValueError("Outputs of a head are taken away by setting them to a `reference`: give their means.")
        return output_game(network.head, feature, columns, reference)

    def strengths_without(
        self, network: Network, feature: Tensor, columns: Sequence[int], reference: Tensor | None
    ) -> Tensor:
        """What the outputs really become: far from an image, those that share their features move along."""
        assert reference is not None
        indices = list(columns)
        away = _steps_away(network.head, feature, indices, reference)
        with torch.no_grad():
            states = (feature.flatten(1)[:, None] - away).flatten(0, 1).reshape(-1, *feature.shape[1:])
            return network.head(states)[1][:, indices].view(len(feature), len(indices), len(indices))

    def prior(self, performance: Performance) -> Tensor:
        """See :func:`~semexplain.concepts.priors.feature_ratio`."""
        return feature_ratio(performance)

    def prior_loss(self, raw: Tensor, weights: Tensor, prior: Tensor) -> Tensor:
        """Weights are signed and compared as directions, see :func:`~semexplain.concepts.losses.prior_l2`."""
        return prior_l2(raw, weights, prior)

    def answers(self, network: Network, prior: Prior) -> Answers:
        """Those of every target and every choice of concepts at once, where the prior allows it."""
        function = getattr(prior, "func", prior)
        if self.network is None and (function is feature_ratio or getattr(function, "__func__", None) is Outputs.prior):
            return OutputAnswers(network, self.chosen)
        return TargetAnswers(network, prior)


def concept_indices(network: Network, names: Sequence[str] | None = None) -> list[int]:
    """Which of a network's outputs are the concepts: those of these names, or all but the target."""
    if names is None:
        return [i for i in range(len(network.output_names)) if i != network.target_index]
    return [network.output_names.index(name) for name in names]


def output_game(
    head: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, columns: Sequence[int], reference: Tensor
) -> Game:
    r"""Concepts are outputs of a head (Case 2): one that is taken away has its reference value, the others keep theirs.

    The shared feature x is moved as little as that takes, to first order, with :math:`J = \partial y / \partial x`:

    .. math:: v(m) = \hat y\bigl(x - J^\top (J J^\top + \epsilon I)^{-1} ((1 - m) \odot (y - \bar y))\bigr)

    The ridge :math:`\epsilon`, a thousandth of the mean diagonal of :math:`J J^\top`, keeps concepts that the feature
    cannot tell apart from moving it without bound.

    Args:
        head: From features ``(B, ...)`` to scores and concepts.
        x: Features ``(B, ...)``.
        columns: Which of the concepts are the ``n`` concepts.
        reference: ``(n,)``, the values of concepts that are taken away.

    Example:
        >>> x = torch.tensor([[3.0, 1.0]])
        >>> game = output_game(lambda x: (x @ torch.tensor([2.0, 1.0]), x), x, [0, 1], torch.tensor([1.0, 0.0]))
        >>> game(torch.tensor([[[1.0, 1.0]], [[0.0, 1.0]]])).round(decimals=2)
        tensor([[7.],
                [3.]])
    """
    away = _steps_away(head, x, list(columns), reference)

    def score(present: Tensor) -> Tensor:
        state = x.flatten(1) - torch.einsum("...bn,bnd->...bd", 1 - present, away)  # @ would copy `away` for all states
        return head(state.reshape(-1, *x.shape[1:]))[0].view(present.shape[:-1])

    return score


def _steps_away(
    head: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, indices: list[int], reference: Tensor
) -> Tensor:
    """Along what x moves back when each output is taken away ``(B, n, d)``."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = head(leaf)[1][:, indices]
        picks = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)[:, None].expand(-1, len(y), -1)
        (jacobian,) = torch.autograd.grad(y, leaf, picks, is_grads_batched=True)
    jacobian = jacobian.transpose(0, 1).flatten(2)  # (B, n, d)
    products = jacobian @ jacobian.mT
    size = products.diagonal(dim1=1, dim2=2).mean(1)
    ridge = torch.where(size > 0, RIDGE * size, 1)  # outputs that depend on nothing cannot be taken away
    eye = torch.eye(products.shape[1], dtype=products.dtype, device=products.device)
    return (y.detach() - reference.to(y))[..., None] * torch.linalg.solve(
        products + ridge[:, None, None] * eye, jacobian
    )


class OutputAnswers:
    """All outputs of a head and the inner products of their gradients: the priors of every target and concept subset.

    Only one triangle of the products is kept.

    Args:
        network: The frozen network.
        chosen: Names of the outputs that are concepts; all but the target by default.
    """

    names: tuple[str, ...] = ("outputs", "products")

    def __init__(self, network: Network, chosen: Sequence[str] | None = None) -> None:
        self.network = network
        self.chosen = chosen
        self.variant = f"{network.head_variant} all outputs"

    def compute(self, feature_map: Tensor) -> dict[str, Tensor]:
        """One pass through the head and the gradient of every output, for as many images at once as memory allows."""
        with torch.inference_mode(False), torch.autocast(feature_map.device.type, enabled=False):
            with torch.no_grad():
                feature = self.network.feature(feature_map.float().clone())
                count = self.network.outputs(feature[:1]).shape[1]
            parts = []
            for x in feature.split(max(1, GRADIENT_BYTES // (count * feature[0].nbytes))):
                leaf = x.detach().requires_grad_()
                with torch.enable_grad():
                    outputs = self.network.outputs(leaf)
                    products = gradient_products(outputs, leaf)
                lower, upper = torch.triu_indices(count, count)
                parts.append((outputs.detach(), products[:, lower, upper]))
        return {name: torch.cat(part) for name, part in zip(self.names, zip(*parts, strict=True), strict=True)}

    def recall(self, rows: Mapping[str, Rows]) -> dict[str, Rows | Derived]:
        """Columns of the outputs, and the ratio of each concept's two products."""
        target, concepts = self.network.target_index, concept_indices(self.network, self.chosen)
        return {
            "score": Derived(partial(_columns, columns=target), rows["outputs"]),
            "concepts": Derived(partial(_columns, columns=concepts), rows["outputs"]),
            "prior": Derived(partial(_prior, target=target, concepts=concepts), rows["products"]),
        }


def _columns(outputs: np.ndarray, columns: Any) -> np.ndarray:
    return outputs[:, columns]


def _prior(triangle: np.ndarray, target: int, concepts: list[int]) -> np.ndarray:
    count = int((2 * triangle.shape[1]) ** 0.5)
    lower, upper = torch.triu_indices(count, count)
    products = torch.zeros(len(triangle), count, count)
    products[:, lower, upper] = products[:, upper, lower] = torch.from_numpy(triangle)
    return ratio_of_products(products, target, concepts).numpy()
