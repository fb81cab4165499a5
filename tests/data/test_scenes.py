"""Drawn images drawn again: as they were they are the file, and a concept less is that concept less."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support import FACES

from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.drawn.animals import render
from semexplain.data.drawn.face_causes import GLOBAL_ATTRIBUTES
from semexplain.data.drawn.faces import draw_face
from semexplain.data.pascal_annotations import CATEGORIES
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.data.synthetic_faces import SyntheticFacesDataModule


@pytest.fixture
def faces_32(faces: Path) -> SyntheticFacesDataModule:
    datamodule = SyntheticFacesDataModule(root=str(faces), image_size=32, **FACES)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> SyntheticAnimalsDataModule:
    sizes = {"train": 12, "valid": 72, "negatives_count": 12, "draw_size": 128}
    root = str(tmp_path_factory.mktemp("animals") / "drawn")
    datamodule = SyntheticAnimalsDataModule(root=root, category="dog", image_size=64, draw_seed=3, **sizes)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_a_face_as_it_was_is_its_file(faces_32: SyntheticFacesDataModule):
    for split in ("train", "val", "test"):
        scenes = faces_32.scenes(split)
        assert [scene.position for scene in scenes] == [*range(len(faces_32.splits[split].ids))]
        for scene in scenes[::9]:
            assert torch.equal(scene.draw(scene.present), faces_32.splits[split].read(scene.position, 32))


def test_a_face_at_another_size_is_resized_like_its_file(faces: Path):
    datamodule = SyntheticFacesDataModule(root=str(faces), image_size=24, **FACES)
    datamodule.setup()
    scene = datamodule.scenes("test")[4]
    assert torch.equal(scene.draw(scene.present), datamodule.splits["test"].read(4, 24))


def test_a_changed_attribute_is_drawn_and_nothing_else(faces_32: SyntheticFacesDataModule):
    """The picture is that of the attributes of the file with one changed, up to the loss of JPEG."""
    scene, number = faces_32.scenes("test")[2], FACES["train"] + FACES["valid"] + 2
    labels = faces_32.splits["test"].labels[2].copy()
    for name in ("Eyeglasses", "Wearing_Hat"):
        at = ATTRIBUTES.index(name)
        changed, present = labels.copy(), scene.present.copy()
        changed[at] = not changed[at]
        present[faces_32.redrawable.index(name)] ^= True
        expected = torch.from_numpy(draw_face(changed, index=number, size=32)).permute(2, 0, 1)
        difference = (scene.draw(present).float() - expected.float()).abs()
        assert difference.mean() < 8
        assert (scene.draw(present) != scene.draw(scene.present)).any()
    assert np.array_equal(labels, faces_32.splits["test"].labels[2])


def test_attributes_without_a_picture_cannot_be_drawn(faces_32: SyntheticFacesDataModule):
    assert set(ATTRIBUTES) - set(faces_32.redrawable) == {*GLOBAL_ATTRIBUTES, "No_Beard"}


def test_the_rates_of_faces_are_those_of_training(faces_32: SyntheticFacesDataModule):
    labels = faces_32.splits["train"].labels
    for name, rate in zip(faces_32.redrawable, faces_32.rates(), strict=True):
        assert rate == pytest.approx(sum(labels[:, ATTRIBUTES.index(name)]) / FACES["train"])


def test_an_animal_as_it_was_is_its_file(animals: SyntheticAnimalsDataModule):
    """Cut out along its box, and mirrored where the view is."""
    test = animals.splits["test"]
    scenes = [scene for split in ("train", "test") for scene in animals.scenes(split)]
    assert {len(scene.present) for scene in scenes} == {len(animals.parts)}
    for scene in animals.scenes("test"):
        assert scene.present.all()
        assert test.labels[scene.position, 0]
        assert torch.equal(scene.draw(scene.present), test.read(scene.position, 64)), test.ids[scene.position]
    assert {test.ids[scene.position].endswith("/mirrored") for scene in animals.scenes("test")} == {True, False}


def test_an_animal_without_parts_is_rendered_without_them(animals: SyntheticAnimalsDataModule):
    scene = animals.scenes("test")[0]
    view = animals.splits["test"].ids[scene.position]
    left, top, right, bottom = animals.splits["test"].boxes[scene.position]
    bare = render(int(view[:6]) - 1, seed=3, size=128, without=animals.parts).image[top:bottom, left:right]
    drawn = scene.draw(np.zeros(len(animals.parts), dtype=bool)).float()
    assert abs(drawn.mean() - bare.mean()) < 3
    assert abs(drawn.mean() - scene.draw(scene.present).float().mean()) > 3


def test_second_animals_and_negatives_are_left_out(animals: SyntheticAnimalsDataModule):
    """Only the pictures made for a dog, each sixth, can lose its parts; dogs beside another animal cannot."""
    train = animals.splits["train"]
    made_for_a_dog = {i + 1 for i in range(84) if CATEGORIES[i % 6] == "dog"}
    drawn = [train.ids[scene.position] for scene in animals.scenes("train")]
    assert {int(name[:6]) for name in drawn} <= made_for_a_dog
    others = {name for name, label in zip(train.ids, train.labels[:, 0], strict=True) if label} - set(drawn)
    assert others
    assert all(name.split("/")[1] == "2" for name in others)
