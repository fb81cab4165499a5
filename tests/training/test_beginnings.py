"""What is fitted before the first step, on one, two and three processes: the same images, the same numbers."""

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.question import Question
from semexplain.concepts.selection import named_concepts
from semexplain.data.celeba import CelebADataModule
from semexplain.explainers.linear import LinearExplainer
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training.beginnings import begin, standardise, take_means
from semexplain.training.teacher import Teacher

IMAGES = 21  # of 70; a multiple of neither the batch nor 2, and 70 are no multiple of 3
SEEN: list[int] = []


class Noted(GradientTimesActivation):
    """Notes how many images it has seen."""

    training_images = IMAGES

    def weights(self, question: Question) -> Tensor:
        SEEN.append(len(question.performance.score))
        return super().weights(question)


def begun(faces: Path) -> dict[str, Any]:
    """All that a process fits, and which images its start has seen."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        performer = VGG16Attributes(weights=None, image_size=32, width=8, hidden=32)
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=8, num_workers=0)
    datamodule.setup()
    teacher = Teacher(performer, partial(named_concepts, include=["Smiling", "Bald", "Male"]), centre=True)
    ids: list[int] = []

    def batches(names: tuple[str, ...] | None = None, images: int | None = None) -> Iterator[dict[str, Tensor]]:
        for batch in datamodule.ordered("train", names, images=images):
            ids.extend(batch["index"].tolist())
            yield batch

    take_means(teacher, batches)
    explainer = LinearExplainer(map_shape=performer.map_shape, n_concepts=3)
    standardise(explainer, teacher, batches, lambda performance, _: performance.feature_map)
    ids.clear()
    SEEN.clear()
    begin(explainer, Noted(), teacher, batches, torch.ones(()))
    assert sum(SEEN) == len(ids)
    numbers = {"reference": teacher.reference, "mean": explainer.mean, "scale": explainer.scale, "bias": explainer.bias}
    return {"ids": ids, **{name: value.detach().clone() for name, value in numbers.items()}}


def work(rank: int, faces: Path, folder: Path) -> None:
    """Three processes together, and then the first two of them."""
    torch.set_num_threads(1)
    for world in (3, 2):
        if rank < world:
            meeting = f"file://{folder}/meeting-{world}"
            distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
            torch.save(begun(faces), folder / f"{world}-{rank}.pt")
            distributed.barrier()
            distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beginnings")
    multiprocessing.spawn(work, args=(faces, folder), nprocs=3)
    return folder


@pytest.mark.parametrize("world", [2, 3])
def test_all_processes_together_begin_with_the_images_of_one(faces: Path, folder: Path, world: int):
    alone = begun(faces)
    assert alone["ids"] == torch.linspace(0, 69, IMAGES).round().long().tolist()  # evenly from the whole split
    parts = [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
    assert sorted(number for part in parts for number in part["ids"]) == alone["ids"]
    for part in parts:
        for name in ("reference", "mean", "scale", "bias"):
            torch.testing.assert_close(part[name], alone[name], rtol=1e-4, atol=1e-5, msg=f"{name} of {world}")
            assert torch.equal(part[name], parts[0][name])
