"""A performer with random layers above its feature map: what explanations of a trained one should differ from."""

import copy

import torch

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
