"""The pictures of a world, each drawn once: images in every state of some concepts, for all performers to score."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from benchmarks.head_to_head.shapley import coalitions
from benchmarks.verdict.performers import World
from semexplain.data.drawn.scenes import Redrawable, Scene
from semexplain.data.module import ImageDataModule, evenly
from semexplain.data.pascal_part import PascalPartDataModule
from semexplain.system.files import whole_file

SPLITS = {"test": "explained", "train": "memory"}


class Pictures(NamedTuple):
    """Images of a split, each in several states of its ``k`` concepts.

    Attributes:
        concepts: Names of the ``k`` concepts.
        ids: Names of the ``N`` images.
        pixels: uint8 ``(N, S, 3, H, W)``, each image in ``S`` states, on the disk.
        states: bool ``(N, S, k)``. Which concepts each picture shows.
        own: bool ``(N, k)``. Which the image has.
        strengths: ``(N, k)``. Of an attribute 1 or -1, of a part its share of the image's pixels.
        rates: ``(k,)``. How often a concept that is taken away is there nevertheless.
    """

    concepts: tuple[str, ...]
    ids: tuple[str, ...]
    pixels: NDArray[np.uint8]
    states: Tensor
    own: Tensor
    strengths: Tensor
    rates: Tensor


def pictures(world: World, datamodule: ImageDataModule, split: str, place: Path) -> Pictures:
    """Of the test images all ``2**k`` states; of training images their own and those with one concept changed.

    Args:
        world: What is drawn.
        datamodule: Its data, after ``setup``.
        split: ``test`` or ``train``.
        place: Folder where they are kept.
    """
    assert isinstance(datamodule, Redrawable)
    columns = [datamodule.redrawable.index(name) for name in world.concepts]
    every = datamodule.scenes(split)
    count = world.images if split == "test" else world.memory
    scenes = [every[number] for number in evenly(np.arange(len(every)), count)]
    own = torch.from_numpy(np.stack([scene.present[columns] for scene in scenes]))
    k, size = len(columns), len(scenes)
    all_states, single = coalitions(k), torch.cat([torch.zeros(1, k), torch.eye(k)]).bool()
    states = all_states.expand(size, -1, -1) if split == "test" else own[:, None] ^ single
    path = place / world.name.replace(" ", "_") / f"{SPLITS[split]}.npy"
    if not path.exists():
        with whole_file(path) as partial:
            _draw(scenes, columns, states.numpy(), partial, f"Drawing {world.name}, {SPLITS[split]}")
    data = datamodule.splits[split]
    at = [scene.position for scene in scenes]
    return Pictures(
        concepts=world.concepts,
        ids=tuple(data.ids[position] for position in at),
        pixels=np.load(path, mmap_mode="r"),
        states=states,
        own=own,
        strengths=_strengths(datamodule, split, at, world.concepts, own),
        rates=torch.from_numpy(datamodule.rates()[columns]),
    )


def _draw(scenes: list[Scene], columns: list[int], states: NDArray[np.bool_], path: Path, words: str) -> None:
    shape = scenes[0].draw(scenes[0].present).shape
    pixels = open_memmap(path, "w+", np.uint8, (*states.shape[:2], *shape))
    for number, scene in enumerate(tqdm(scenes, words, unit="image", mininterval=5)):
        for row, state in enumerate(states[number]):
            present = scene.present.copy()
            present[columns] = state
            pixels[number, row] = scene.draw(present).numpy()
    pixels.flush()


def _strengths(datamodule: ImageDataModule, split: str, at: list[int], names: tuple[str, ...], own: Tensor) -> Tensor:
    if not isinstance(datamodule, PascalPartDataModule):
        return torch.where(own, 1.0, -1.0).double()
    numbers = [datamodule.parts.index(name) for name in names]
    maps = [datamodule.part_map(datamodule.splits[split], position) for position in at]
    return torch.tensor([[float((one == number).mean()) for number in numbers] for one in maps], dtype=torch.float64)
