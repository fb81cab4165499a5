"""A network that has learned Shapley values from randomly masked concepts, as in FastSHAP: one pass per image."""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from semexplain.attributions.base import EfficientAttribution, made_efficient
from semexplain.attributions.kernel_shap import drawn
from semexplain.attributions.question import Question
from semexplain.system.seed import Seed

CELLS = 4  # a side, to which the network pools its maps


class MaskedNetwork(EfficientAttribution):
    r"""A small network from the feature map to all contributions (Jethani et al. 2022).

    .. math:: \min_\theta\ \mathbb E_I\, \mathbb E_{m \sim w} \Bigl(v(m) - v(0) - \sum_i m_i \phi_i\Bigr)^2, \qquad
              \phi_i = \phi_{\theta,i} + \frac1n \Bigl(v(1) - v(0) - \sum_j \phi_{\theta,j}\Bigr)

    with w the Shapley kernel: the least squares of :class:`~semexplain.attributions.kernel_shap.KernelShap`,
    solved for all images at once. It costs ``masks`` passes through the head per training image and epoch, and later
    two per image.

    Args:
        training_images: Spread evenly over the training split.
        epochs: Passes over them.
        masks: Sets of concepts per image and epoch, half of them complements of the others.
        hidden: Channels of the network.
        lr: Learning rate of Adam.
        seed: Of network and sets.
    """

    network: nn.Module

    def __init__(
        self,
        training_images: Annotated[int, Ge(2)] = 2048,
        epochs: Annotated[int, Ge(1)] = 20,
        masks: Annotated[int, Ge(2)] = 16,
        hidden: Annotated[int, Ge(1)] = 64,
        lr: Annotated[float, Gt(0)] = 1e-3,
        seed: Seed = 0,
    ) -> None:
        self.training_images = training_images
        self.epochs = epochs
        self.pairs = masks // 2
        self.hidden = hidden
        self.lr = lr
        self.seed = seed

    def fit(self, questions: Iterable[Question]) -> None:
        """Find the base value, then train the network."""
        super().fit(questions)
        first = next(iter(questions))
        self.network = self._new_network(first)
        optimizer = torch.optim.Adam(self.network.parameters(), self.lr)
        generator = torch.Generator().manual_seed(self.seed)
        epochs = self.epochs if first.performance.concepts.shape[1] > 1 else 0  # a single concept gets everything
        for _ in range(epochs):
            for question in questions:
                loss = self._loss(question, generator)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.network.requires_grad_(False)

    def contributions(self, question: Question) -> Tensor:
        """``(B, n)``."""
        output = self.network(self._seen(question)) * self.scale
        return made_efficient(output, question)

    def _seen(self, question: Question) -> Tensor:
        return question.network.view(question.performance.feature_map.float())

    def _loss(self, question: Question, generator: torch.Generator) -> Tensor:
        batch, n = question.performance.concepts.shape
        sets = drawn(n, self.pairs * batch, generator).view(self.pairs, batch, n).to(question.performance.concepts)
        states = torch.cat([sets, 1 - sets])
        values = question.scores(states) - question.ends[1]
        with torch.enable_grad():
            shared_out = (states * self.contributions(question)).sum(-1)
            return ((values - shared_out) / self.scale).square().mean()

    def _new_network(self, question: Question) -> nn.Module:
        """Untrained, with inputs and outputs of the order of 1 on a batch."""
        maps, n = self._seen(question), question.performance.concepts.shape[1]
        self.scale = question.worth.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            network = nn.Sequential(
                nn.Conv2d(maps.shape[1], self.hidden, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(CELLS),
                nn.Flatten(),
                nn.Linear(self.hidden * CELLS**2, n),
            )
        first = network[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.data /= maps.std().clamp(min=1e-6).cpu()
        return network.to(maps.device)
