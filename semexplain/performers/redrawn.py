"""A performer with random layers above its feature map: what explanations of a trained one should differ from."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from semexplain.performers.base import Performer

HEADS = (0, 1, 2)  # seeds of those that a network is compared with


def with_redrawn_head(performer: Performer, seed: int) -> Performer:
    """A copy that shares the layers below; every other layer starts anew, as PyTorch initialises it.

    The random numbers of the caller stay as they are.

    Args:
        performer: Any, which is left as it is.
        seed: Of the new weights.
    """
    modules = {part for module in performer.encode_modules() for part in module.modules()}
    network = copy.deepcopy(performer, {id(module): module for module in modules})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in network.modules():
            reset = getattr(module, "reset_parameters", None)
            if module not in modules and callable(reset):
                reset()
    return network


def beside_redrawn(performer: Performer) -> list[Performer]:
    """A performer, then those with redrawn heads that it is compared with, all frozen."""
    return [performer.freeze(), *(with_redrawn_head(performer, seed).freeze() for seed in HEADS)]


@torch.no_grad()
def scores_of(networks: Sequence[Performer], image: Tensor) -> Tensor:
    """Scores of images by networks that share the layers below, which compute once.

    Args:
        networks: ``R``, as :func:`beside_redrawn` makes them.
        image: ``(B, C, H, W)``, as the performer takes them.

    Returns:
        ``(R, B)`` on the CPU.
    """
    feature_map = networks[0].encode(image.to(networks[0].device)).float()
    return torch.stack([network.head(network.feature(feature_map))[0] for network in networks]).cpu()
