"""What Distillation makes for metrics of faithfulness, when it makes it, and from what."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semexplain.concepts.filters import Filters
from semexplain.concepts.losses import prior_l2
from semexplain.concepts.priors import feature_ratio
from semexplain.concepts.selection import all_concepts, named_concepts
from semexplain.data.celeba import CelebADataModule
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.explanation import Performance
from semexplain.metrics.completeness_gap import CompletenessGap
from semexplain.metrics.concept_count import ConceptCount
from semexplain.metrics.concept_curves import ConceptCurves
from semexplain.metrics.faithfulness_correlation import FaithfulnessCorrelation
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.metrics.stability import Stability
from semexplain.metrics.truth_agreement import TruthAgreement
from semexplain.performers.base import Performer
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training import measured as measured_module
from semexplain.training import measures as measures_module
from semexplain.training.distillation import Distillation

NAMES = ["Smiling", "Bald", "Young"]
FAITHFULNESS = {
    "curves": ConceptCurves,
    "correlation": FaithfulnessCorrelation,
    "completeness_gap": CompletenessGap,
    "stability": Stability,
}


class SumOfSquares(Performer):
    """Four filters as concepts; the score is a curved function of the sums of three maps."""

    kind, target_name, output_names = Filters(), "Attractive", ("Attractive",)
    image_shape, map_shape = (3, 32, 32), (4, 3, 3)

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 1)

    def encode(self, image: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(image.float() / 255, 3).repeat(1, 2, 1, 1)[:, :4] + 0.1

    def feature(self, feature_map: Tensor) -> Tensor:
        return feature_map

    def outputs(self, feature: Tensor) -> Tensor:
        return self.mix(feature.sum((2, 3)).square())


def gradient_times_activation(performance: Performance) -> Tensor:
    """A signed prior of filters: the gradient of the score at x, times x, summed over each map."""
    x = performance.feature
    (gradient,) = torch.autograd.grad(performance.score.sum(), x, retain_graph=True)
    return (gradient * x).sum((2, 3))


def distillation(performer: Performer, metrics: dict[str, Any], concepts: Callable = all_concepts) -> Distillation:
    torch.manual_seed(3)
    filters = isinstance(performer, SumOfSquares)
    module = Distillation(
        performer=performer,
        explainer=partial(ResNetExplainer, depth=18),
        prior=gradient_times_activation if filters else feature_ratio,
        prior_loss=prior_l2,
        concepts=concepts,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        metrics=metrics,
    )
    nn.init.normal_(module.explainer.head.weight)  # weights that differ from image to image
    return module.eval()


def data(faces: Path, batch_size: int = 32) -> CelebADataModule:
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=batch_size, num_workers=0)
    datamodule.setup()
    return datamodule


def measured(module: Distillation, datamodule: CelebADataModule) -> dict[str, float]:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    result = trainer.test(module, datamodule=datamodule, verbose=False)[0]
    return {name.removeprefix("test/"): value for name, value in result.items()}


def update(module: Distillation, batch: dict[str, Tensor]) -> None:
    """Measure a batch of which the first label is that of the target."""
    module.measures.update(batch, batch["label"][:, 0], module.answer(batch, with_prior=True), "test")


def test_outputs_are_taken_away_by_setting_them_to_their_training_means(
    performer: VGG16Attributes, faces: Path
) -> None:
    """The completeness gap, from the solution of a linear system for every image."""
    module = distillation(performer, {"completeness_gap": CompletenessGap()}, partial(named_concepts, include=NAMES))
    datamodule = data(faces)
    result = measured(module, datamodule)
    train = torch.cat(
        [performer(batch["image"]).concepts[:, module.teacher.columns] for batch in datamodule.ordered("train")]
    )
    mean = train.double().mean(0)
    wrong = changes = 0.0
    for batch in datamodule.ordered("test"):
        explanation, performance = module(batch["image"]), performer(batch["image"])
        for image in range(len(batch["image"])):
            x = performance.feature[image].double()
            exact = performer.double()

            def values(x: Tensor, exact: Performer = exact) -> Tensor:
                return exact.head(x[None])[1][0, module.teacher.columns]

            jacobian = torch.autograd.functional.jacobian(values, x)
            products = jacobian @ jacobian.T
            ridge = 1e-3 * products.diagonal().mean() * torch.eye(3)
            step = jacobian.T @ torch.linalg.inv(products + ridge) @ (values(x) - mean)
            change = (exact.head(x[None])[0] - exact.head((x - step)[None])[0]).item()
            performer.float()
            wrong += abs(explanation.contributions[image].double().sum().item() - change)
            changes += abs(change)
    assert result["completeness_gap"] == pytest.approx(wrong / changes, rel=1e-3)


def test_filters_are_taken_away_by_setting_them_to_zero(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves of a head that can be written down, concept by concept, without a look at the training images."""
    torch.manual_seed(1)
    performer = SumOfSquares()
    metric = ConceptCurves()
    module = distillation(performer, {"curves": metric})
    monkeypatch.setattr(measured_module, "take_means", lambda *_: pytest.fail("filters need no reference"))
    given: list[dict[str, Tensor]] = []
    update = metric.update
    metric.update = lambda deletion, insertion: (given.append({"deletion": deletion}), update(deletion, insertion))
    datamodule = data(faces)
    measured(module, datamodule)
    deletion = torch.cat([one["deletion"] for one in given])
    explanations = [module(batch["image"]) for batch in datamodule.ordered("test")]
    contributions = torch.cat([one.contributions for one in explanations])
    sums = torch.cat([one.values for one in explanations])
    weight, bias = performer.mix.weight[0], performer.mix.bias
    for image in range(len(deletion)):
        left = sums[image].clone()
        rising = (left.square() @ weight) > 0
        order = sorted(range(4), key=lambda i, image=image: contributions[image, i].item(), reverse=bool(rising))
        expected = [left.square() @ weight + bias]
        for concept in order:
            left[concept] = 0
            expected.append(left.square() @ weight + bias)
        torch.testing.assert_close(deletion[image], torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_noise_is_on_the_feature_map_and_concepts_are_read_again(performer: VGG16Attributes, faces: Path) -> None:
    module = distillation(performer, {"stability": Stability()})
    datamodule = data(faces)
    result = measured(module, datamodule)
    noise = torch.randn(2, 1, *performer.map_shape, generator=torch.Generator().manual_seed(0))
    means, largest = [], []
    for batch in datamodule.ordered("test"):
        feature_map = performer.encode(batch["image"])
        own = module(batch["image"]).contributions
        for image in range(len(own)):
            changes = []
            for k in range(2):
                noisy = feature_map[[image]] + 0.01 * feature_map[image].std() * noise[k]
                performance, _ = performer.perform(noisy, None, module.teacher.columns)
                weights = module.explainer.weights(module.explainer(noisy))
                change = weights * performance.concepts - own[image]
                changes.append((change.norm() / own[image].norm()).item())
            means.append(sum(changes) / 2)
            largest.append(max(changes))
    assert result["average_sensitivity"] == pytest.approx(sum(means) / len(means), rel=1e-3)
    assert result["max_sensitivity"] == pytest.approx(sum(largest) / len(largest), rel=1e-3)
    assert result["average_sensitivity"] > 0


@pytest.mark.parametrize("kind", ["outputs", "filters"])
def test_batches_make_no_difference(performer: VGG16Attributes, faces: Path, kind: str) -> None:
    torch.manual_seed(1)
    chosen = performer if kind == "outputs" else SumOfSquares()
    results = [
        measured(distillation(chosen, {name: metric() for name, metric in FAITHFULNESS.items()}), data(faces, size))
        for size in (32, 5)
    ]
    assert results[0].keys() == results[1].keys()
    assert {"deletion_area", "insertion_area", "faithfulness_correlation", "completeness_gap"} < results[0].keys()
    assert results[0] == pytest.approx(results[1], rel=1e-3, abs=1e-5)


def test_stored_performances_give_the_same_but_for_rounding(performer: VGG16Attributes, faces: Path) -> None:
    module = distillation(performer, {name: metric() for name, metric in FAITHFULNESS.items()})
    module.teacher.reference = torch.full((39,), 0.1)
    batch = next(iter(data(faces).ordered("test")))
    feature_map = performer.encode(batch["image"])
    performance, prior = performer.perform(feature_map, feature_ratio)
    stored = {name: batch[name] for name in ("label", "object_id")}
    stored |= {"feature_map": feature_map.half(), "score": performance.score, "concepts": performance.concepts}
    results = []
    for given in (batch, {**stored, "prior": prior}):
        update(module, given)
        values: dict[str, float] = {}
        for name, metric in module.measures.metrics.items():
            result = metric.compute()
            values |= result if isinstance(result, dict) else {name: result}
            metric.reset()
        results.append({name: float(value) for name, value in values.items()})
    assert results[0] != results[1]
    assert results[0] == pytest.approx(results[1], rel=0.02, abs=1e-3)


def test_nothing_is_made_that_no_metric_asks_for(
    performer: VGG16Attributes, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("noisy_maps", "concept_curves", "subset_effects", "end_scores"):
        monkeypatch.setattr(measures_module, name, lambda *_, name=name: pytest.fail(f"{name} was called"))
    monkeypatch.setattr(VGG16Attributes, "game", lambda *_: pytest.fail("a game was made"))
    module = distillation(performer, {"deviation": RelativeDeviation(), "concept_count": ConceptCount()})
    monkeypatch.setattr(measured_module, "take_means", lambda *_: pytest.fail("no metric needs the concepts' means"))
    assert 1 <= measured(module, data(faces))["concept_count"] <= 39


def test_validation_leaves_out_what_takes_concepts_away(performer: VGG16Attributes) -> None:
    metrics = {name: metric() for name, metric in FAITHFULNESS.items()}
    module = distillation(performer, {**metrics, "truth": TruthAgreement(), "concept_count": ConceptCount()})
    assert list(module.measures.of("val")) == ["concept_count"]


def test_a_truth_comes_with_the_batch_and_is_asked_for_if_it_does_not(performer: VGG16Attributes, faces: Path) -> None:
    module = distillation(performer, {"truth_agreement": TruthAgreement()})
    batch = next(iter(data(faces).ordered("test")))
    with pytest.raises(ValueError, match="metric `truth_agreement` asks for truth, which .* do not have. They have"):
        update(module, batch)
    module.measures.metrics["truth_agreement"].reset()
    contributions = module(batch["image"]).contributions
    update(module, {**batch, "truth": 2 * contributions})
    assert module.measures.metrics["truth_agreement"].compute()["contribution_error"].item() == pytest.approx(0.5)
