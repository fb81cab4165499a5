"""What each control tells an explainer, and that a module is told it whether or not a cache answers."""

from functools import partial
from pathlib import Path

import pytest
import torch

from semexplain.attributions.base import Start
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.linear_map import LeastSquares
from semexplain.concepts.losses import prior_l2
from semexplain.concepts.priors import feature_ratio
from semexplain.concepts.selection import named_concepts
from semexplain.data.celeba import CelebADataModule
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.performers.base import state_digest
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.runs.cache import PerformanceCache
from semexplain.training.beginnings import begin, take_means
from semexplain.training.controls import Constant, Control, Redrawn, Shuffled
from semexplain.training.distillation import Distillation

NAMES = ["Bald", "Smiling", "Young"]  # in the order of the outputs


def module(performer: VGG16Attributes, control: Control | None, start: type[Start] | None = None) -> Distillation:
    torch.manual_seed(3)
    return Distillation(
        performer=performer,
        explainer=partial(ResNetExplainer, depth=18),
        prior=feature_ratio,
        prior_loss=prior_l2,
        concepts=partial(named_concepts, include=NAMES),
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        metrics={"relative_deviation": RelativeDeviation()},
        start=start,
        control=control,
    ).eval()


def data(faces: Path) -> CelebADataModule:
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=32, num_workers=0, cache_dtype="float32")
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_shuffled_gives_every_image_the_strengths_and_the_prior_of_one_other(size: int):
    concepts, prior = torch.rand(size, 4), torch.rand(size, 4)
    told, other_prior = Shuffled().concepts(concepts), Shuffled().weights(prior)
    taken = [int((concepts == row).all(1).nonzero()) for row in told]
    assert sorted(taken) == list(range(size))
    assert all(own != other for own, other in enumerate(taken))
    torch.testing.assert_close(other_prior, prior[taken])


def test_shuffled_does_not_exchange_neighbours_and_a_single_image_keeps_its_own():
    others = Shuffled().others(64)
    near = (others - torch.arange(64)).abs() == 1
    assert near.sum() <= 4  # of 64; a shift by one would have 63
    assert not torch.equal(Shuffled(seed=1).others(64), others)
    assert Shuffled().others(1).tolist() == [0]


def test_constant_says_one():
    concepts, prior = torch.randn(5, 3), torch.randn(5, 3)
    assert torch.equal(Constant().concepts(concepts), torch.ones(5, 3))
    assert torch.equal(Constant().weights(prior), prior)


def test_redrawn_keeps_what_the_explainer_sees_and_nothing_above(performer: VGG16Attributes):
    trained = state_digest(performer)
    before = torch.get_rng_state()
    drawn = Redrawn().performer(performer.freeze())
    assert torch.equal(torch.get_rng_state(), before)
    assert state_digest(performer) == trained
    assert drawn.trunk[0].weight is performer.trunk[0].weight
    for name in ("fc1", "fc2", "fc3"):
        old, new = getattr(performer, name), getattr(drawn, name)
        for parameter in ("weight", "bias"):
            assert not torch.equal(getattr(old, parameter), getattr(new, parameter))
    assert not any(parameter.requires_grad for parameter in drawn.parameters())
    assert state_digest(Redrawn().performer(performer)) == state_digest(drawn)
    assert state_digest(Redrawn(seed=1).performer(performer)) != state_digest(drawn)
    image = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    one, other = performer(image), drawn(image)
    assert torch.equal(one.feature_map, other.feature_map)
    assert torch.corrcoef(torch.stack([one.score, other.score]))[0, 1].abs() < 0.95
    assert not torch.allclose(one.score, other.score, rtol=0.1)
    assert not torch.allclose(one.concepts, other.concepts, rtol=0.1)


@pytest.mark.parametrize("control", [None, Constant(), Shuffled(), Redrawn()], ids=lambda c: type(c).__name__)
def test_a_cache_makes_no_difference(performer: VGG16Attributes, faces: Path, tmp_path: Path, control: Control | None):
    explaining, computed, recalled = module(performer, control), data(faces), data(faces)
    cache = PerformanceCache(tmp_path, recalled, torch.device("cpu"))
    cache.attach_performances(performer, feature_ratio)
    if explaining.performer is not performer:
        cache.attach_answers(explaining.performer, feature_ratio)
    for one, other in zip(computed.ordered("val"), recalled.ordered("val"), strict=True):
        assert "image" not in other
        (a, prior_a), (b, prior_b) = (explaining.teacher.perform(batch, with_prior=True) for batch in (one, other))
        for field in ("score", "concepts", "feature_map"):
            torch.testing.assert_close(getattr(a, field), getattr(b, field), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prior_a, prior_b, rtol=1e-3, atol=1e-4)
        told = performer if control is None else control.performer(performer)
        truth = told(one["image"])
        torch.testing.assert_close(a.score, truth.score, rtol=1e-4, atol=1e-5)
        columns = [performer.concept_names.index(name) for name in NAMES]
        expected = truth.concepts[:, columns]
        if isinstance(control, Constant):
            expected = torch.ones_like(expected)
        elif isinstance(control, Shuffled):
            expected = expected[control.others(len(expected))]
        torch.testing.assert_close(a.concepts, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("control", [Constant(), Redrawn()], ids=lambda c: type(c).__name__)
@pytest.mark.parametrize("stored", [True, False])
def test_the_linear_start_is_that_of_what_is_told(
    performer: VGG16Attributes, faces: Path, tmp_path: Path, control: Control, stored: bool
):
    explaining, datamodule = module(performer, control, LeastSquares), data(faces)
    if stored:
        cache = PerformanceCache(tmp_path, datamodule, torch.device("cpu"))
        cache.attach_performances(performer, feature_ratio)
        if explaining.performer is not performer:
            cache.attach_answers(explaining.performer, feature_ratio)
    explaining.trainer = type("Trainer", (), {"datamodule": datamodule})()
    begin(
        explaining.explainer,
        explaining.start,
        explaining.teacher,
        explaining.training_batches,
        explaining.concept_scale,
    )
    weights, bias = explaining.explainer.last_layer()[1].detach(), explaining.explainer.bias.detach()
    told = control.performer(performer)
    batches = [told(batch["image"]) for batch in data(faces).ordered("train")]
    score, concepts = torch.cat([b.score for b in batches]).double(), torch.cat([b.concepts for b in batches]).double()
    if isinstance(control, Constant):
        torch.testing.assert_close(weights, torch.zeros(3))
        torch.testing.assert_close(bias.double(), score.mean(), rtol=1e-4, atol=1e-5)
        return
    columns = [performer.concept_names.index(name) for name in NAMES]
    design = torch.cat([concepts[:, columns], torch.ones(len(score), 1)], 1).double()
    fitted = design @ torch.linalg.lstsq(design, score, driver="gelsd").solution
    found = design[:, :3] @ weights.double() + bias
    assert (found - fitted).norm() < 1e-3 * (fitted - fitted.mean()).norm()


def test_a_start_is_of_the_image_whose_concepts_are_told(performer: VGG16Attributes, faces: Path):
    """Otherwise an attribution over strengths, times the same strengths, would be right whatever they are."""
    batch = next(iter(data(faces).ordered("val")))
    explanations = []
    for control in (None, Shuffled()):
        explaining = module(performer, control)
        explaining.start = GradientTimesActivation(n_concepts=3)
        explaining.explainer.start_at(torch.zeros(3), torch.tensor(0.0))  # no correction
        explanations.append(explaining(batch["image"]))
    truth, shuffled = explanations
    assert truth.contributions.abs().sum() > 0
    others = Shuffled().others(len(truth))
    torch.testing.assert_close(shuffled.contributions, truth.contributions[others], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(shuffled.score, truth.score)


@pytest.mark.parametrize("control", [Constant(), Shuffled()], ids=lambda c: type(c).__name__)
def test_strengths_are_centred_after_they_are_told(performer: VGG16Attributes, faces: Path, control: Control):
    explaining, datamodule = module(performer, control), data(faces)
    explaining.teacher.centre = True
    explaining.trainer = type("Trainer", (), {"datamodule": datamodule})()
    take_means(explaining.teacher, explaining.training_batches)
    batch = next(iter(datamodule.ordered("val")))
    told = control.concepts(performer(batch["image"]).concepts[:, explaining.teacher.columns])
    mean = 1.0
    if isinstance(control, Shuffled):
        mean = torch.cat([performer(b["image"]).concepts for b in datamodule.ordered("train")])[
            :, explaining.teacher.columns
        ]
        mean = mean.mean(0)
    found = explaining.teacher.perform(batch, with_prior=False)[0].concepts
    torch.testing.assert_close(found, told - mean, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_of_a_control_is_not_one_of_an_explanation(performer: VGG16Attributes):
    checkpoint = {"state_dict": dict(module(performer, Shuffled()).state_dict())}
    module(performer, Shuffled()).on_save_checkpoint(checkpoint)
    module(performer, Shuffled()).on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="its control is Shuffled, not None"):
        module(performer, None).on_load_checkpoint(checkpoint)
    del checkpoint["semexplain"]["control"]  # of a run before there were controls
    module(performer, None).on_load_checkpoint(checkpoint)
