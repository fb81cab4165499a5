"""Drawn faces: the causal model, the pictures and the files."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from semexplain.data import synthetic_faces
from semexplain.data.attributes import ATTRIBUTES
from semexplain.data.drawn import face_causes
from semexplain.data.drawn.face_causes import (
    BEARDS,
    DRAWN_AS,
    GLOBAL_ATTRIBUTES,
    LOCAL_CAUSES,
    global_logits,
    ground_truth,
    sample_attributes,
)
from semexplain.data.drawn.faces import HAIR_COLOURS, draw_face
from semexplain.data.synthetic_faces import SyntheticFacesDataModule, write_faces

FEW = {"train": 3, "valid": 2, "test": 1, "size": 24, "seed": 5, "progress": False}


@pytest.fixture(scope="module")
def many() -> NDArray[np.bool_]:
    return sample_attributes(20_000, seed=1)


def column(attributes: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    return attributes[:, ATTRIBUTES.index(name)]


def having(*names: str) -> NDArray[np.bool_]:
    return np.array([name in names for name in ATTRIBUTES])


def without(attributes: NDArray[np.bool_], name: str) -> NDArray[np.bool_]:
    changed = attributes.copy()
    changed[ATTRIBUTES.index(name)] = False
    return changed


# The causal model


def test_global_logits_are_the_formula_of_the_ground_truth_written_slowly(many: NDArray[np.bool_]) -> None:
    """Sum the json record term by term, as someone with nothing but the file would."""
    truth = json.loads(json.dumps(ground_truth()))["globals"]
    logits = global_logits(many[:50])
    for row, face in zip(logits, many[:50], strict=True):
        present = {name for name, value in zip(ATTRIBUTES, face, strict=True) if value}
        for name, logit in zip(GLOBAL_ATTRIBUTES, row, strict=True):
            expected = truth[name]["bias"]
            expected += sum(c for a, c in truth[name]["additive"].items() if a in present)
            expected += sum(c for a, b, c in truth[name]["interactions"] if a in present and b in present)
            assert logit == pytest.approx(expected)


def test_a_global_attribute_follows_its_logit_with_logistic_noise(many: NDArray[np.bool_]) -> None:
    """Among faces of similar logit the rate of the attribute is ``sigmoid(logit / noise_scale)``."""
    scale = ground_truth()["noise_scale"]
    for g, name in enumerate(GLOBAL_ATTRIBUTES):
        logit, present = global_logits(many)[:, g], column(many, name)
        for low in np.arange(-0.6, 0.6, 0.1):
            chosen = (logit >= low) & (logit < low + 0.1)
            expected = 1 / (1 + np.exp(-logit[chosen] / scale))
            error = 4 * np.sqrt((expected * (1 - expected)).sum()) + 1
            assert abs(present[chosen].sum() - expected.sum()) < error
        assert 0.92 < ((logit > 0) == present).mean() < 0.99


def test_global_attributes_are_caused_by_local_ones_only() -> None:
    truth = ground_truth()
    for cause in truth["globals"].values():
        causes = {*cause["additive"], *(name for a, b, _ in cause["interactions"] for name in (a, b))}
        assert causes <= {*LOCAL_CAUSES, "No_Beard"}
        assert cause["interactions"]
    faces = sample_attributes(20, seed=0)
    flipped = faces.copy()
    flipped[:, [ATTRIBUTES.index(name) for name in GLOBAL_ATTRIBUTES]] ^= True
    np.testing.assert_array_equal(global_logits(faces), global_logits(flipped))


def test_every_attribute_is_either_drawn_or_accounted_for() -> None:
    truth = ground_truth()
    assert {*truth["drawn_as"], *truth["not_drawn"]} == set(ATTRIBUTES)
    assert not truth["drawn_as"].keys() & truth["not_drawn"].keys()
    assert {*truth["locals"], "No_Beard", *truth["globals"]} == set(ATTRIBUTES)


def test_causes_come_before_their_effects() -> None:
    known = set(ground_truth()["latents"])
    for name, cause in LOCAL_CAUSES.items():
        assert cause.causes.keys() <= known, name
        known.add(name)


def test_sampled_faces_are_consistent(many: NDArray[np.bool_]) -> None:
    any_beard = np.any([column(many, beard) for beard in BEARDS], axis=0)
    np.testing.assert_array_equal(column(many, "No_Beard"), ~any_beard)
    exclusive = [
        *combinations(HAIR_COLOURS, 2),
        *(("Bald", other) for other in (*HAIR_COLOURS, "Bangs", "Receding_Hairline", "Straight_Hair", "Wavy_Hair")),
        ("Straight_Hair", "Wavy_Hair"),
        ("Bangs", "Receding_Hairline"),
        ("Receding_Hairline", "Wearing_Hat"),
        ("Wearing_Necklace", "Wearing_Necktie"),
    ]
    for a, b in exclusive:
        assert not (column(many, a) & column(many, b)).any(), (a, b)


def test_rates_are_lifelike(many: NDArray[np.bool_]) -> None:
    rates = dict(zip(ATTRIBUTES, many.mean(axis=0), strict=True))
    assert min(rates.values()) > 0.03
    for name, rate in {"Attractive": 0.5, "Heavy_Makeup": 0.4, "Male": 0.42, "Young": 0.75, "Smiling": 0.48}.items():
        assert rates[name] == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ("Double_Chin", "Chubby", 0.6, 0.75),
        ("High_Cheekbones", "Smiling", 0.6, 0.75),
        ("Mouth_Slightly_Open", "Smiling", 0.45, 0.6),
        ("Goatee", "No_Beard", -0.7, -0.5),
        ("Wearing_Lipstick", "Wearing_Earrings", 0.3, 0.5),
        ("Wearing_Lipstick", "Goatee", -0.35, -0.15),
        ("Gray_Hair", "Eyeglasses", 0.05, 0.3),
        ("Wearing_Lipstick", "Heavy_Makeup", 0.75, 0.95),
        ("Male", "Heavy_Makeup", -0.8, -0.5),
        ("Blurry", "Smiling", -0.03, 0.03),
    ],
)
def test_attributes_are_correlated_as_in_life(many: NDArray[np.bool_], a: str, b: str, low: float, high: float) -> None:
    assert low < np.corrcoef(column(many, a), column(many, b))[0, 1] < high


def test_attributes_of_a_face_do_not_depend_on_the_count() -> None:
    np.testing.assert_array_equal(sample_attributes(7, seed=3), sample_attributes(40, seed=3)[:7])
    assert (sample_attributes(40, seed=3) != sample_attributes(40, seed=4)).any()


# The pictures


def test_every_present_attribute_leaves_a_mark() -> None:
    """Take attributes one at a time from sampled faces: the picture must change by more than a few pixels."""
    seen = set()
    for index, face in enumerate(sample_attributes(150, seed=2)):
        blurred = face[ATTRIBUTES.index("Blurry")]
        picture = draw_face(face, index=index).astype(int)
        for name in (name for name in DRAWN_AS if face[ATTRIBUTES.index(name)]):
            other = draw_face(without(face, name), index=index).astype(int)
            changed = (abs(picture - other).max(axis=-1) > (2 if blurred else 12)).sum()
            assert changed >= 20, (name, index)
            seen.add(name)
    assert seen == set(DRAWN_AS)


@pytest.mark.parametrize("name", DRAWN_AS)
def test_drawn_attributes_are_visible_on_a_small_plain_face(name: str) -> None:
    plain = having() if name in HAIR_COLOURS else having("Brown_Hair")
    before, after = (draw_face(face, index=9, size=48).astype(int) for face in (plain, plain | having(name)))
    assert (abs(before - after).max(axis=-1) > 12).sum() >= 10


@pytest.mark.parametrize("name", [*GLOBAL_ATTRIBUTES, "No_Beard"])
def test_other_attributes_leave_no_mark(name: str) -> None:
    for index, face in enumerate(sample_attributes(10, seed=2)):
        before, after = (draw_face(f, index=index, size=48) for f in (without(face, name), face | having(name)))
        np.testing.assert_array_equal(before, after)


def test_adding_an_attribute_leaves_the_rest_of_the_picture() -> None:
    """A necktie is drawn below the chin, so everything above stays as it is."""
    before, after = (draw_face(having(*names), index=4) for names in ((), ("Wearing_Necktie",)))
    rows = np.flatnonzero((before != after).any(axis=(1, 2)))
    assert rows.min() > 70


def test_pictures_depend_on_attributes_index_and_seed() -> None:
    face = having("Black_Hair")
    pictures = [draw_face(face, index=i, seed=s, size=32).tobytes() for i, s in ((0, 0), (1, 0), (0, 1), (1, 1))]
    assert len(set(pictures)) == 4
    assert pictures[0] == draw_face(face, index=0, seed=0, size=32).tobytes()


@pytest.mark.parametrize(
    ("index", "size", "digest"),
    [
        (0, 96, "6224aec3d18688e45c0f795d4d97f38ad5fe4b45560cdda79679d00cf7e175f3"),
        (1, 48, "ae2de8baa1d30126578aba5b149d87559427eb5e9acf08698eb197fe1a490770"),
    ],
)
def test_pixels_are_the_same_on_every_platform(index: int, size: int, digest: str) -> None:
    """Pinned: other pixels are another data set, and results on it are not comparable."""
    face = sample_attributes(2, seed=0)[index]
    assert hashlib.sha256(draw_face(face, index=index, size=size).tobytes()).hexdigest() == digest


@pytest.mark.parametrize("size", [24, 33, 200])
def test_any_size_can_be_drawn(size: int) -> None:
    picture = draw_face(having("Blurry", "Wearing_Hat"), index=0, size=size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


def test_unusable_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="size must be at least 24, got 16"):
        draw_face(having(), index=0, size=16)
    with pytest.raises(ValueError, match="index must be at least 0, got -1"):
        draw_face(having(), index=-1)
    with pytest.raises(ValueError, match=r"shape \(40,\), got \(39,\)"):
        draw_face(having()[1:], index=0)
    with pytest.raises(ValueError, match=r"shape \(B, 40\), got \(40,\)"):
        global_logits(having())
    with pytest.raises(ValueError, match="count must be at least 0, got -2"):
        sample_attributes(-2, seed=0)


# The files


def test_files_have_the_layout_of_celeba(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", **FEW)
    root = tmp_path / "faces"
    count, header, *rows = (root / "list_attr_celeba.txt").read_bytes().decode().split("\n")
    assert count == "6"
    assert header == " ".join(ATTRIBUTES) + " "
    assert rows.pop() == ""
    assert {len(row) for row in rows} == {len("000001.jpg") + 40 * 3}
    names = [row.split()[0] for row in rows]
    attributes = np.array([[{"1": True, "-1": False}[value] for value in row.split()[1:]] for row in rows])
    assert names == [f"{number:06d}.jpg" for number in range(1, 7)]
    np.testing.assert_array_equal(attributes, sample_attributes(6, seed=5))

    partition = (root / "list_eval_partition.txt").read_text().splitlines()
    assert partition == [f"{name} {part}" for name, part in zip(names, "000112", strict=True)]

    for index, name in enumerate(names):
        with Image.open(root / "img_align_celeba" / name) as image:
            stored = np.asarray(image.convert("RGB")).astype(int)
        drawn = draw_face(attributes[index], index=index, seed=5, size=24)
        assert abs(stored - drawn).mean() < 8  # JPEG is not exact

    record = json.loads((root / "ground_truth.json").read_text())
    assert record.pop("settings") == {key: value for key, value in FEW.items() if key != "progress"}
    assert record == ground_truth()


def test_more_faces_leave_the_first_ones_as_they_are(tmp_path: Path) -> None:
    write_faces(tmp_path / "few", **FEW)
    write_faces(tmp_path / "more", **{**FEW, "train": 9})
    for name in ("000001.jpg", "000006.jpg"):
        few, more = (tmp_path / folder / "img_align_celeba" / name for folder in ("few", "more"))
        assert few.read_bytes() == more.read_bytes()


def test_existing_faces_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path / "faces", **FEW)
    monkeypatch.setattr(synthetic_faces, "draw_face", pytest.fail)
    write_faces(tmp_path / "faces", **FEW)


def test_faces_of_other_settings_are_an_error(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", **FEW)
    with pytest.raises(ValueError, match=r"'seed': 5\}, but .*'seed': 6\} was asked for. Choose another root"):
        write_faces(tmp_path / "faces", **{**FEW, "seed": 6})


def test_faces_of_another_model_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_faces(tmp_path / "faces", **FEW)
    monkeypatch.setattr(face_causes, "NOISE_SCALE", 9.0)
    with pytest.raises(ValueError, match="another version of the drawing"):
        write_faces(tmp_path / "faces", **FEW)


def test_a_foreign_folder_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match=r"holds something else .*Choose another root, or delete"):
        write_faces(tmp_path, **FEW)
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(attributes: NDArray[np.bool_], *, index: int, seed: int, size: int) -> NDArray[np.uint8]:
        if index == 3:
            raise KeyboardInterrupt
        return draw_face(attributes, index=index, seed=seed, size=size)

    monkeypatch.setattr(synthetic_faces, "draw_face", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_faces(tmp_path / "faces", **FEW)
    assert {path.name for path in tmp_path.iterdir()} <= {"faces.lock"}
    monkeypatch.undo()
    write_faces(tmp_path / "faces", **FEW)
    assert len([*(tmp_path / "faces" / "img_align_celeba").iterdir()]) == 6


def test_of_several_writers_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(attributes: NDArray[np.bool_], *, index: int, seed: int, size: int) -> NDArray[np.uint8]:
        drawn.append(index)
        return draw_face(attributes, index=index, seed=seed, size=size)

    monkeypatch.setattr(synthetic_faces, "draw_face", counted)
    with ThreadPoolExecutor(3) as pool:
        for writer in [pool.submit(write_faces, tmp_path / "faces", **FEW) for _ in range(3)]:
            writer.result()
    assert drawn == [0, 1, 2, 3, 4, 5]


def test_at_least_one_face_per_split_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="valid must be at least 1, got 0"):
        write_faces(tmp_path / "faces", **{**FEW, "valid": 0})


def test_the_data_module_writes_faces_on_first_use(tmp_path: Path) -> None:
    module = SyntheticFacesDataModule(
        root=str(tmp_path / "faces"),
        train=4,
        valid=2,
        test=2,
        draw_size=32,
        draw_seed=1,
        image_size=32,
        batch_size=2,
        num_workers=0,
    )
    module.prepare_data()
    record = json.loads((tmp_path / "faces" / "ground_truth.json").read_text())
    assert record["settings"] == {"train": 4, "valid": 2, "test": 2, "size": 32, "seed": 1}
    module.setup("fit")
    (batch,) = list(module.val_dataloader())
    assert batch["image"].shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(batch["label"].numpy(), sample_attributes(8, seed=1)[4:6])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("Atractive", r"unknown: Atractive \(did you mean 'Attractive'\?\); missing: Attractive\. Delete the folder"),
        ("", r"line 3: expected an image and 39 values, got 40 values"),
    ],
)
def test_drawn_faces_have_all_attributes(tmp_path: Path, written: str, message: str) -> None:
    module = SyntheticFacesDataModule(
        root=str(tmp_path / "faces"), train=4, valid=1, test=1, draw_size=24, draw_seed=5, image_size=32, num_workers=0
    )
    module.prepare_data()
    path = tmp_path / "faces" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace("Attractive", written, 1))
    with pytest.raises(ValueError, match=message):
        module.setup()


def test_drawn_faces_with_fewer_attributes_are_refused(tmp_path: Path) -> None:
    module = SyntheticFacesDataModule(
        root=str(tmp_path / "faces"), train=4, valid=1, test=1, draw_size=24, draw_seed=5, image_size=32, num_workers=0
    )
    module.prepare_data()
    path = tmp_path / "faces" / "list_attr_celeba.txt"
    count, names, *rows = path.read_text().splitlines()
    fewer = [count, *(line.rsplit(maxsplit=1)[0] for line in (names, *rows))]
    path.write_text("\n".join(fewer))
    with pytest.raises(ValueError, match="must name each of the 40 attributes that faces are drawn by; missing: Young"):
        module.setup()
