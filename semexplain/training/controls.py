"""Controls: explainers that get something else than an image's concepts.

An explainer sees the whole feature map, so its weights alone can learn the score, whatever the concepts are. Its
deviation means something only beside that of the same explainer whose concepts say nothing.
"""

import torch
from torch import Tensor

from semexplain.performers.base import Performer
from semexplain.performers.redrawn import with_redrawn_head
from semexplain.system.seed import Seed


class Control:
    """What an explainer gets in place of the truth; this base class changes nothing.

    Attributes:
        truthful: Whether all of it is true.
    """

    truthful: bool = False

    def performer(self, performer: Performer) -> Performer:
        """The performer to explain, made from the one that was trained."""
        return performer

    def concepts(self, concepts: Tensor) -> Tensor:
        """Concept strengths ``(B, n)``, made from those of the batch's images."""
        return concepts

    def weights(self, weights: Tensor) -> Tensor:
        """Weights ``(B, n)`` that come with the strengths, of a prior or a start, made from those of the images."""
        return weights


class Truth(Control):
    """The truth."""

    truthful = True


class Constant(Control):
    """Every concept has the strength 1 in every image: only the weights can explain.

    Example:
        >>> Constant().concepts(torch.tensor([[3.0, -2.0]]))
        tensor([[1., 1.]])
    """

    def concepts(self, concepts: Tensor) -> Tensor:
        """Ones."""
        return torch.ones_like(concepts)


class Shuffled(Control):
    """Every image has the concepts and the prior of another image of its batch.

    A permutation at random in one cycle, so that no image keeps its own unless it is alone; always the same one for the
    same number of images. Training batches are mixed anew in every epoch; in batches that are in order, neighbours,
    which may show the same object, are not exchanged for each other.

    Args:
        seed: Of the permutation.

    Example:
        >>> Shuffled().concepts(torch.arange(4.0)[:, None]).flatten()
        tensor([2., 0., 3., 1.])
    """

    def __init__(self, seed: Seed = 0) -> None:
        self.seed = seed

    def concepts(self, concepts: Tensor) -> Tensor:
        """Rows of other images."""
        return concepts[self.others(len(concepts)).to(concepts.device)]

    def weights(self, weights: Tensor) -> Tensor:
        """Rows of the same other images."""
        return self.concepts(weights)

    def others(self, size: int) -> Tensor:
        """Which image each of a batch gets the concepts of, ``(size,)``."""
        order = torch.randperm(size, generator=torch.Generator().manual_seed(self.seed))
        return torch.empty_like(order).scatter_(0, order, order.roll(1))


class Redrawn(Control):
    """A performer with random layers above its feature map: so are its score, concepts and prior.

    The layers that make the feature map, which the explainer sees, stay as they were trained. Explanations of the
    trained performer and of this one should not look alike.

    Args:
        seed: Of the new weights.
    """

    def __init__(self, seed: Seed = 0) -> None:
        self.seed = seed

    def performer(self, performer: Performer) -> Performer:
        """See :func:`~semexplain.performers.redrawn.with_redrawn_head`."""
        return with_redrawn_head(performer, self.seed)
