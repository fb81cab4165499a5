"""One constant for all concepts: training does not see it but in the size of the first weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from semexplain.attributions.linear_map import LeastSquares
from semexplain.attributions.prior import PriorAndMap
from semexplain.concepts.losses import prior_cross_entropy, prior_l2
from semexplain.concepts.priors import feature_ratio
from semexplain.concepts.selection import all_concepts
from semexplain.data.celeba import CelebADataModule
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.explanation import Performance
from semexplain.metrics.contribution_entropy import ContributionEntropy
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.concept_scale import scale_of_scores
from semexplain.training.controls import Control
from semexplain.training.distillation import Distillation


class Divided(Control):
    """Other units for all concepts: strengths over four, and weights four times as large."""

    def concepts(self, concepts: Tensor) -> Tensor:
        return concepts / 4

    def weights(self, weights: Tensor) -> Tensor:
        return weights * 4


def positive(performance: Performance) -> Tensor:
    return feature_ratio(performance).abs()


PRIORS = {"identity": (feature_ratio, prior_l2), "softplus": (positive, prior_cross_entropy)}


def distillation(performer: VGG16Attributes, output: str = "identity", **options: object) -> Distillation:
    torch.manual_seed(3)
    prior, prior_loss = PRIORS[output]
    return Distillation(
        performer=performer,
        explainer=partial(ResNetExplainer, depth=18, output=output),
        prior=prior,
        prior_loss=prior_loss,
        concepts=all_concepts,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        metrics={"relative_deviation": RelativeDeviation(), "entropy": ContributionEntropy()},
        **options,
    )


@pytest.fixture
def data(faces: Path) -> CelebADataModule:
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=32, num_workers=0)
    datamodule.setup()
    return datamodule


def trained(module: Distillation, data: CelebADataModule, folder: Path) -> Distillation:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[PriorWeight(10.0)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    torch.manual_seed(5)  # of the order of the images
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module.eval()


@pytest.mark.parametrize("output", PRIORS)
def test_training_with_a_scale_is_training_on_divided_concepts(
    performer: VGG16Attributes, data: CelebADataModule, tmp_path: Path, output: str
):
    images = next(iter(data.ordered("train")))["image"]
    scaled = trained(distillation(performer, output, concept_scale=4.0), data, tmp_path)
    divided = trained(distillation(performer, output, control=Divided()), data, tmp_path)
    for name, value in divided.explainer.state_dict().items():
        torch.testing.assert_close(scaled.explainer.state_dict()[name], value)
    one, other = scaled(images), divided(images)
    torch.testing.assert_close(one.contributions, other.contributions)
    torch.testing.assert_close(one.prediction, other.prediction)
    torch.testing.assert_close(one.values, performer(images).concepts)  # told in their own units
    torch.testing.assert_close(one.weights, other.weights / 4)


@pytest.mark.parametrize(("prior", "loss"), PRIORS.values())
def test_the_prior_loss_does_not_see_a_common_scale_and_sees_one_of_a_single_concept(
    prior: Callable[..., Tensor], loss: Callable[..., Tensor]
):
    raw, w = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.rand(4, 5) + 0.1
    weights = torch.nn.functional.softplus(raw) if loss is prior_cross_entropy else raw
    single = torch.tensor([3.0, 1, 1, 1, 1])
    torch.testing.assert_close(loss(raw=raw, weights=weights / 3, prior=w / 3), loss(raw=raw, weights=weights, prior=w))
    assert not torch.isclose(loss(raw=raw, weights=weights, prior=w * single), loss(raw=raw, weights=weights, prior=w))


@pytest.mark.parametrize("output", PRIORS)
def test_the_scale_is_that_of_the_first_prediction(performer: VGG16Attributes, data: CelebADataModule, output: str):
    batches = [performer(batch["image"]) for batch in data.ordered("train")]
    score = torch.cat([batch.score for batch in batches]).double()
    concepts = torch.cat([batch.concepts for batch in batches]).double()
    scale = scale_of_scores(iter(batches), output)
    if output == "softplus":
        first = sum(torch.log1p(torch.exp(torch.tensor(0.0))) * column for column in concepts.T) / scale
        torch.testing.assert_close(first.std(correction=0), score.std(correction=0), rtol=1e-5, atol=0)
    else:
        draws = torch.randint(0, 2, (39, 20000), generator=torch.Generator().manual_seed(0)).double() * 2 - 1
        first = ((concepts - concepts.mean(0)) / scale) @ draws
        assert abs(float(first.square().mean() / score.var(correction=0)) - 1) < 0.05


@pytest.mark.parametrize("output", PRIORS)
@pytest.mark.parametrize("constant", ["score", "concepts"])
def test_where_nothing_varies_the_scale_is_one(output: str, constant: str):
    score, concepts, nothing = torch.randn(6), torch.randn(6, 3), torch.empty(0)
    performance = Performance(score, concepts, nothing, nothing)
    performance = performance._replace(**{constant: torch.full_like(getattr(performance, constant), 0.3)})
    assert float(scale_of_scores(iter([performance]), output)) == 1


def test_a_chosen_scale_travels_with_the_checkpoint(performer: VGG16Attributes, data: CelebADataModule, tmp_path: Path):
    module = trained(distillation(performer, "softplus", concept_scale="auto"), data, tmp_path)
    images = next(iter(data.ordered("val")))["image"]
    expected = scale_of_scores((performer(batch["image"]) for batch in data.ordered("train")), "softplus")
    torch.testing.assert_close(module.concept_scale, expected)
    again = distillation(performer, "softplus", concept_scale="auto")
    again.restore(tmp_path / "end.ckpt")
    torch.testing.assert_close(again.eval()(images).weights, module(images).weights)


def test_without_a_scale_checkpoints_are_as_before(performer: VGG16Attributes):
    assert "concept_scale" not in distillation(performer).state_dict()


@pytest.mark.parametrize("start", [LeastSquares, PriorAndMap])
def test_a_start_has_the_size_of_the_scores_already(
    performer: VGG16Attributes, data: CelebADataModule, tmp_path: Path, start: type
):
    scaled = trained(distillation(performer, start=start, concept_scale="auto"), data, tmp_path)
    assert float(scaled.concept_scale) == 1


def test_weights_that_are_taken_over_are_of_divided_strengths(
    performer: VGG16Attributes, data: CelebADataModule, tmp_path: Path
):
    images = next(iter(data.ordered("train")))["image"]
    still = partial(torch.optim.SGD, lr=0.0)
    explained = []
    for scale in (None, 4.0):
        module = distillation(performer, start=LeastSquares, concept_scale=scale)
        module.optimizer = still
        explained.append(trained(module, data, tmp_path)(images).weights)
    torch.testing.assert_close(explained[0], explained[1])
