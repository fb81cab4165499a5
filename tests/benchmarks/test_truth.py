"""Known truth: a world of squares with a known score in closed form, then real drawings against a slow loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import FACES
from torch import Tensor, nn

from benchmarks.head_to_head import truth as truth_module
from benchmarks.head_to_head.truth import Truth, agreement, known_truth
from semexplain.concepts.outputs import Outputs
from semexplain.data.celeba import CelebADataModule
from semexplain.data.drawn.scenes import Redrawable, Scene
from semexplain.data.images import Split
from semexplain.data.module import ImageDataModule
from semexplain.data.synthetic_animals import SyntheticAnimalsDataModule
from semexplain.data.synthetic_faces import SyntheticFacesDataModule
from semexplain.performers.base import Performer
from semexplain.performers.vgg16_attributes import VGG16Attributes

NAMES = ("red", "tall", "wet", "old")
RATES = torch.tensor([0.5, 0.25, 0.75, 0.5], dtype=torch.float64)
WEIGHTS = torch.tensor([2.0, -1.0, 0.5, 3.0], dtype=torch.float64)


def picture(present: np.ndarray) -> Tensor:
    """Concept i is a white pixel in column i."""
    pixels = torch.zeros(3, 8, 8, dtype=torch.uint8)
    pixels[:, 0, : len(NAMES)] = torch.from_numpy(present) * torch.tensor(255, dtype=torch.uint8)
    return pixels


class Squares(Redrawable, ImageDataModule):
    """Twelve images, in files, with random concepts."""

    redrawable = NAMES
    names = NAMES

    def __init__(self, folder: Path, rates: Tensor = RATES, **kwargs: int) -> None:
        super().__init__(image_size=8, **{"num_workers": 0, **kwargs})
        self.folder = folder
        self.own_rates = rates

    def read(self) -> dict[str, Split]:
        labels = np.random.default_rng(0).random((12, len(NAMES))) < 0.5
        paths = tuple(self.folder / f"{i}.png" for i in range(12))
        for path, present in zip(paths, labels, strict=True):
            if not path.exists():
                Image.fromarray(picture(present).permute(1, 2, 0).numpy()).save(path)
        split = Split(tuple(path.name for path in paths), paths, labels)
        return {"train": split, "val": split, "test": split}

    def rates(self) -> np.ndarray:
        return self.own_rates.numpy()

    def scenes(self, split: str) -> list[Scene]:
        return [Scene(at, present, picture) for at, present in enumerate(self._split(split).labels)]


class Squarer(Performer):
    """The concepts' weighted sum, and ``together`` where an image is both red and tall."""

    kind, target_name, output_names = Outputs(), "nice", ("nice", *NAMES)
    image_shape, map_shape = (3, 8, 8), (1, 8, 8)

    def __init__(self, together: float = 0.0) -> None:
        super().__init__()
        self.together = nn.Parameter(torch.tensor(together))
        self.dropout = nn.Dropout(0.5)
        self.pictures = 0

    def encode(self, image: Tensor) -> Tensor:
        self.pictures += len(image)
        return image[:, :1] / 255

    def feature(self, feature_map: Tensor) -> Tensor:
        return self.dropout(feature_map[:, 0, 0, : len(NAMES)])

    def outputs(self, feature: Tensor) -> Tensor:
        score = feature @ WEIGHTS.float() + self.together * feature[:, 0] * feature[:, 1]
        return torch.cat([score[:, None], feature], 1)


@pytest.fixture
def squares(tmp_path: Path) -> Squares:
    datamodule = Squares(tmp_path)
    datamodule.setup()
    return datamodule


def of(datamodule: ImageDataModule, names: tuple[str, ...] = NAMES, performer: Performer | None = None, **options: int):
    cache = Path(getattr(datamodule, "folder", "")) / "cache"
    return known_truth(performer or Squarer(), datamodule, names, cache=cache, **options)


# Closed forms


def test_of_an_additive_score_both_truths_are_weight_times_deviation_from_the_rate(squares: Squares):
    truth = of(squares)
    present = torch.from_numpy(squares.splits["test"].labels)
    expected = WEIGHTS * (present.double() - RATES)
    torch.testing.assert_close(truth.values, expected)
    torch.testing.assert_close(truth.removal, expected)
    torch.testing.assert_close(truth.base, (WEIGHTS * RATES).sum().expand(12))
    torch.testing.assert_close(truth.score, present.double() @ WEIGHTS)
    assert agreement(truth) == pytest.approx(1)
    assert (truth.kind, truth.target, truth.names, truth.removable) == ("interventional", "nice", NAMES, NAMES)


def test_an_interaction_is_shared_between_its_two_concepts(squares: Squares):
    """Of c a b with rates r, s: Shapley c (a - r)(b + s) / 2 and c (b - s)(a + r) / 2, removal c (a - r) b, ..."""
    truth, plain = of(squares, performer=Squarer(4.0)), of(squares)
    a, b = torch.from_numpy(squares.splits["test"].labels[:, :2]).double().T
    r, s = RATES[:2]
    shared = torch.stack([2 * (a - r) * (b + s), 2 * (b - s) * (a + r)], dim=1)
    torch.testing.assert_close(truth.values[:, :2] - plain.values[:, :2], shared)
    alone = torch.stack([4 * (a - r) * b, 4 * (b - s) * a], dim=1)
    torch.testing.assert_close(truth.removal[:, :2] - plain.removal[:, :2], alone)
    torch.testing.assert_close(truth.values[:, 2:], plain.values[:, 2:])
    torch.testing.assert_close(truth.values.sum(1), truth.score - truth.base)


def test_concepts_that_take_no_part_stay_as_they_are_in_the_image(squares: Squares):
    """Alone, the interaction of "red" with "tall" is there only where the image is tall."""
    truth = of(squares, ("wet", "red"), Squarer(4.0))
    present = torch.from_numpy(squares.splits["test"].labels).double()
    slope = torch.stack([WEIGHTS[2].expand(12), WEIGHTS[0] + 4 * present[:, 1]], dim=1)
    torch.testing.assert_close(truth.values, slope * (present[:, [2, 0]] - RATES[[2, 0]]))
    assert truth.removal.shape == (12, 4)


def test_where_all_rates_are_0_concepts_are_absent(tmp_path: Path):
    datamodule = Squares(tmp_path, torch.zeros(4, dtype=torch.float64))
    datamodule.setup()
    truth = of(datamodule)
    assert truth.kind == "absent"
    torch.testing.assert_close(truth.base, torch.zeros(12, dtype=torch.float64))
    torch.testing.assert_close(truth.values, WEIGHTS * torch.from_numpy(datamodule.splits["test"].labels))


def test_without_names_there_are_removals_only(squares: Squares):
    truth = of(squares, ())
    assert truth.values.shape == (12, 0)
    torch.testing.assert_close(truth.removal, of(squares).removal)
    assert np.isnan(agreement(truth))


def test_images_are_evenly_spread(squares: Squares):
    assert of(squares, images=3).ids == ("0.png", "6.png", "11.png")
    assert of(squares, images=1).ids == ("0.png",)
    assert len(of(squares, images=99).ids) == 12


# Real drawings


def slow_interventional(score, own: list[bool], rates: list[float]) -> list[float]:
    """Of every coalition the expected score: each state of the concepts outside, times its probability."""
    k = len(own)
    values = []
    for coalition in range(2**k):
        total = 0.0
        for state in range(2**k):
            if any(coalition >> i & 1 and bool(state >> i & 1) != own[i] for i in range(k)):
                continue
            chance = 1.0
            for i in range(k):
                if not coalition >> i & 1:
                    chance *= rates[i] if state >> i & 1 else 1 - rates[i]
            total += chance * score([bool(state >> i & 1) for i in range(k)])
        values.append(total)
    return values


def slow_shapley(values: list[float], k: int) -> list[float]:
    """Of three concepts: 1/3, 1/6 or 1/3 of what each adds to none, one or two others."""
    share = {0: 1 / 3, 1: 1 / 6, 2: 1 / 3}
    return [
        sum(share[s.bit_count()] * (values[s | 1 << i] - values[s]) for s in range(2**k) if not s >> i & 1)
        for i in range(k)
    ]


def scored(performer: Performer, image: Tensor) -> float:
    return float(performer(image[None]).score)


def test_faces_against_a_slow_loop(faces: Path, performer: VGG16Attributes, tmp_path: Path):
    datamodule = SyntheticFacesDataModule(root=str(faces), image_size=32, num_workers=0, **FACES)
    datamodule.setup()
    names = ("Wearing_Lipstick", "Bangs", "Eyeglasses")
    truth = known_truth(performer, datamodule, names, cache=tmp_path, images=2, batch_size=5)
    columns = [datamodule.redrawable.index(name) for name in names]
    rates = datamodule.rates()
    for row, scene in enumerate([datamodule.scenes("test")[0], datamodule.scenes("test")[-1]]):

        def score(state: list[bool], scene: Scene = scene) -> float:
            present = scene.present.copy()
            present[columns] = state
            return scored(performer, scene.draw(present))

        values = slow_interventional(score, scene.present[columns].tolist(), rates[columns].tolist())
        shapley = torch.tensor(slow_shapley(values, 3), dtype=torch.float64)
        torch.testing.assert_close(truth.values[row], shapley, rtol=1e-3, atol=1e-7)
        for at in (0, columns[1], 34):
            on, off = scene.present.copy(), scene.present.copy()
            on[at], off[at] = True, False
            expected = rates[at] * scored(performer, scene.draw(on)) + (1 - rates[at]) * scored(
                performer, scene.draw(off)
            )
            assert float(truth.removal[row, at]) == pytest.approx(float(truth.score[row]) - expected, abs=1e-7)
    assert float(truth.values.abs().max()) > 1e-5


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_animals_against_a_slow_loop(tmp_path: Path):
    sizes = {"train": 6, "valid": 60, "negatives_count": 6, "draw_size": 128}
    datamodule = SyntheticAnimalsDataModule(
        root=str(tmp_path / "drawn"), category="cat", image_size=32, num_workers=0, **sizes
    )
    datamodule.prepare_data()
    datamodule.setup()
    torch.manual_seed(1)
    performer = VGG16Attributes(weights=None, image_size=32, width=8, hidden=32)
    names = ("head", "tail", "ear")
    truth = known_truth(performer, datamodule, names, cache=tmp_path / "cache", images=1)
    scene = datamodule.scenes("test")[0]
    columns = [datamodule.parts.index(name) for name in names]

    def without(*gone: int) -> float:
        present = np.ones(len(datamodule.parts), dtype=bool)
        present[list(gone)] = False
        return scored(performer, scene.draw(present))

    values = [without(*(columns[i] for i in range(3) if not s >> i & 1)) for s in range(8)]
    expected = torch.tensor(slow_shapley(values, 3), dtype=torch.float64)
    torch.testing.assert_close(truth.values[0], expected, rtol=1e-3, atol=1e-7)
    drops = torch.tensor([without() - without(at) for at in range(len(datamodule.parts))], dtype=torch.float64)
    torch.testing.assert_close(truth.removal[0], drops, rtol=1e-3, atol=1e-7)
    assert truth.kind == "absent"
    assert truth.removable == datamodule.parts


# Scores are kept


def test_scores_are_computed_once_and_only_for_new_images(squares: Squares):
    """16 states and 4 changes of every image, and each call reads the images of its own again."""
    performer = Squarer()
    few = of(squares, performer=performer, images=3)
    assert performer.pictures == 3 * 20 + 3
    again = of(squares, performer=performer, images=3)
    assert performer.pictures == 3 * 20 + 3 + 3
    assert torch.equal(few.values, again.values)
    of(squares, performer=performer, images=12)
    assert performer.pictures == 12 * 20 + 3 + 3 + 12


def test_other_weights_or_names_are_other_scores(squares: Squares):
    plain = of(squares)
    assert not torch.allclose(plain.values, of(squares, performer=Squarer(1.0)).values)
    torch.testing.assert_close(plain.values.flip(1), of(squares, NAMES[::-1]).values)


def test_an_interrupted_computation_goes_on(squares: Squares, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(truth_module, "IMAGES_PER_SHARD", 2)
    performer = Squarer()

    def stop(image: Tensor) -> Tensor:
        if performer.pictures >= 5 * 20:
            raise KeyboardInterrupt
        return Squarer.encode(performer, image)

    performer.encode = stop
    with pytest.raises(KeyboardInterrupt):
        of(squares, performer=performer, batch_size=20)
    del performer.encode
    performer.pictures = 0
    truth = of(squares, performer=performer, batch_size=20)
    assert performer.pictures == 8 * 20 + 12  # the fifth image's shard was not complete
    torch.testing.assert_close(truth.values, of(squares, performer=Squarer(0.0), images=12).values)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_size_of_batches_does_not_matter(squares: Squares, batch_size: int):
    truth = of(squares, performer=Squarer(4.0), batch_size=batch_size, images=5)
    torch.testing.assert_close(truth.values.sum(1), truth.score - truth.base)
    torch.testing.assert_close(
        truth.removal[:, 3], WEIGHTS[3] * (torch.tensor(truth_labels(squares, truth))[:, 3] - 0.5)
    )


def truth_labels(squares: Squares, truth: Truth) -> np.ndarray:
    rows = [squares.splits["test"].ids.index(name) for name in truth.ids]
    return squares.splits["test"].labels[rows].astype(float)


def test_worker_processes_draw_the_same(tmp_path: Path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "workers").mkdir()
    found = []
    for folder, workers in (("alone", 0), ("workers", 2)):
        datamodule = Squares(tmp_path / folder, num_workers=workers)
        datamodule.setup()
        found.append(of(datamodule, performer=Squarer(4.0), batch_size=16))
    assert torch.equal(found[0].values, found[1].values)
    assert torch.equal(found[0].removal, found[1].removal)


def test_random_numbers_are_left_alone(squares: Squares):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    of(squares)
    assert torch.equal(torch.get_rng_state(), before)


# Refusals


def test_photos_cannot_be_drawn_again(faces: Path, tmp_path: Path):
    datamodule = CelebADataModule(root=str(faces))
    with pytest.raises(TypeError, match="those of CelebADataModule cannot be drawn again. Use `data=synthetic_faces`"):
        known_truth(Squarer(), datamodule, (), cache=tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("No_Beard", "Bald", "Male"), "with or without No_Beard, Male, which have no picture of their own"),
        (("Bald", "Bald"), "Each concept can take part once, got Bald, Bald"),
        (tuple(f"{i}" for i in range(13)), "at most 12 concepts, got 13"),
    ],
)
def test_names_are_checked(faces: Path, tmp_path: Path, names: tuple[str, ...], message: str):
    datamodule = SyntheticFacesDataModule(root=str(faces), image_size=32, **FACES)
    datamodule.setup()
    with pytest.raises(ValueError, match=message):
        known_truth(Squarer(), datamodule, names, cache=tmp_path)


def test_no_images_are_refused(squares: Squares, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="`images` must be at least 1, got 0"):
        of(squares, images=0)
    monkeypatch.setattr(squares, "scenes", lambda split: [])
    with pytest.raises(ValueError, match="No test image can be drawn again"):
        of(squares)


def test_files_of_another_drawing_are_refused(squares: Squares):
    """The fourth file has other concepts than its labels say."""
    path = squares.splits["test"].paths[3]
    Image.fromarray(picture(~squares.splits["test"].labels[3]).permute(1, 2, 0).numpy()).save(path)
    with pytest.raises(
        ValueError, match=r"3\.png has the score .*, but the same image drawn again has .*: the file is"
    ):
        of(squares)


# The record


def test_it_is_saved_whole_and_loaded(squares: Squares, tmp_path: Path):
    truth = of(squares, ("wet", "red"), Squarer(4.0))
    truth.save(tmp_path / "folder" / "truth.parquet")
    loaded = Truth.load(tmp_path / "folder" / "truth.parquet")
    for field in ("values", "removal", "rates", "score", "base"):
        assert torch.equal(getattr(truth, field), getattr(loaded, field)), field
    for field in ("target", "ids", "names", "removable", "kind"):
        assert getattr(truth, field) == getattr(loaded, field), field
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["truth.parquet"]


def test_one_without_shapley_values_is_loaded(squares: Squares, tmp_path: Path):
    of(squares, ()).save(tmp_path / "truth.parquet")
    assert Truth.load(tmp_path / "truth.parquet").values.shape == (12, 0)


def test_what_is_no_truth_is_not_loaded(squares: Squares, tmp_path: Path):
    import pandas as pd

    with pytest.raises(FileNotFoundError, match="Expected the known truth in .*none.parquet"):
        Truth.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(ValueError, match="text.parquet is not a complete parquet file"):
        Truth.load(tmp_path / "text.parquet")
    pd.DataFrame({"id": ["a"], "score": [1.0]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="other.parquet holds no known truth: base missing"):
        Truth.load(tmp_path / "other.parquet")


def test_aligned_is_the_truth_of_others_images_and_concepts(squares: Squares):
    truth = of(squares, ("wet", "red"), Squarer(4.0), images=3)
    table = truth.aligned(["6.png", "no.png", "0.png"], ["red", "nice", "wet", "tall"])
    assert torch.equal(table[[0, 2]][:, [0, 2]], truth.values[[1, 0]].flip(1))
    assert table[1].isnan().all()
    assert table[:, [1, 3]].isnan().all()
    assert torch.equal(truth.aligned(["11.png"], ["tall"], removal=True), truth.removal[[2]][:, [1]])


def test_shapes_are_checked(squares: Squares):
    truth = of(squares)
    with pytest.raises(ValueError, match=r"values must have the shape \(12, 4\), got \(12, 3\)"):
        Truth(**{**truth.__dict__, "values": truth.values[:, 1:]})


def test_agreement_is_the_mean_correlation_of_ranks(squares: Squares):
    """Of two images: three concepts in the same order, and with two neighbours exchanged (1 - 6 * 2 / 24 = 0.5)."""
    names, one = ("a", "b", "c"), torch.ones(2)
    values = torch.tensor([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9]])
    removal = torch.tensor([[-3.0, 0.0, 0.0, 5.0], [2.0, 0.0, 1.0, 5.0]])
    truth = Truth("nice", ("1", "2"), names, values, ("a", "z", "b", "c"), removal, torch.zeros(4), one, one)
    assert agreement(truth) == pytest.approx(0.75)
