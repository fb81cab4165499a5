"""The step of Eqs. 1 to 4, with the performer's side computed or cached, and what checkpoints hold."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from semexplain.attributions.base import Start
from semexplain.attributions.linear_map import CommonWeight, LeastSquares
from semexplain.concepts.losses import prior_l2
from semexplain.concepts.outputs import concept_indices
from semexplain.concepts.priors import feature_ratio
from semexplain.concepts.selection import all_concepts, named_concepts
from semexplain.data.celeba import CelebADataModule
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.metrics.accuracy import ExplainerAccuracy
from semexplain.metrics.contribution_entropy import ContributionEntropy
from semexplain.metrics.linear_map import LinearMap
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.performers.base import state_digest
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training.callbacks.prior_weight import PriorWeight
from semexplain.training.distillation import Distillation


def distillation(
    performer: VGG16Attributes,
    prior: Callable = feature_ratio,
    start: type[Start] | None = None,
    **explainer: object,
) -> Distillation:
    torch.manual_seed(3)
    return Distillation(
        performer=performer,
        explainer=partial(ResNetExplainer, depth=18, **explainer),
        prior=prior,
        prior_loss=prior_l2,
        start=start,
        concepts=all_concepts,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        metrics={
            "relative_deviation": RelativeDeviation(),
            "entropy": ContributionEntropy(),
            "accuracy": ExplainerAccuracy(),
        },
    )


def data(faces: Path) -> CelebADataModule:
    datamodule = CelebADataModule(root=str(faces), image_size=32, batch_size=32, num_workers=0)
    datamodule.setup()
    return datamodule


def trainer(folder: Path, epochs: int, beta: float) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[PriorWeight(beta)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def test_a_step_is_equations_one_to_four(performer: VGG16Attributes, faces: Path):
    module, batch = distillation(performer), next(iter(data(faces).ordered("train")))
    module.prior_weight = 0.7
    loss = module.training_step(batch, 0)

    performance = performer(batch["image"])
    u = module.explainer(performance.feature_map)
    _, w = performer.perform(performance.feature_map, feature_ratio)
    expected = 0.0
    for i in range(len(u)):
        prediction = sum(u[i, k] * performance.concepts[i, k] for k in range(39)) + module.explainer.bias
        alpha, prior = u[i] / u[i].norm(), w[i] / w[i].norm()
        expected = expected + (performance.score[i] - prediction) ** 2 + 0.7 * ((alpha - prior) ** 2).sum()
    torch.testing.assert_close(loss, expected / len(u), rtol=1e-4, atol=1e-4)


def test_only_the_explainer_learns(performer: VGG16Attributes, faces: Path, tmp_path: Path):
    module = distillation(performer)
    digest, explainer = state_digest(performer), state_digest(module.explainer)
    trainer(tmp_path, 1, beta=0.2).fit(module, datamodule=data(faces))
    assert state_digest(performer) == digest
    assert state_digest(module.explainer) != explainer
    optimized = {id(p) for group in module.optimizers().optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in module.explainer.parameters()}


def test_a_compiled_explainer_learns_the_same(performer: VGG16Attributes, faces: Path, tmp_path: Path):
    states = []
    for options in (None, {"backend": "eager"}):  # the graph is captured, and run as it is
        module = distillation(performer)
        module.compile_options = options
        trainer(tmp_path, 1, 0.2).fit(module, data(faces))
        states.append(module.state_dict())
    assert module.explainer._compiled_call_impl is not None
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-5, atol=1e-6)


def test_without_beta_the_prior_is_not_even_computed(performer: VGG16Attributes, faces: Path, tmp_path: Path):
    """The baseline's weights are those of a run from which the prior's code was taken out."""

    def absent(performance: object) -> torch.Tensor:
        raise AssertionError("the baseline computed a prior")

    module, without = distillation(performer), distillation(performer, prior=absent)
    without.validation_step = without.on_validation_epoch_end = lambda *_: None  # it reports the prior in any case
    for one in (module, without):
        pl.seed_everything(5, verbose=False)
        trainer(tmp_path, 2, beta=0.0).fit(one, datamodule=data(faces))
    assert state_digest(module.explainer) == state_digest(without.explainer)


@pytest.mark.parametrize(
    ("start", "output"), [(CommonWeight, "identity"), (LeastSquares, "identity"), (LeastSquares, "softplus")]
)
def test_training_starts_at_the_least_squares_map(
    performer: VGG16Attributes, faces: Path, tmp_path: Path, start: type[Start], output: str
):
    """Of all concepts, or of their sum: where weights must be positive, the best common one."""
    common = start is CommonWeight or output == "softplus"
    module, datamodule = distillation(performer, start=start, output=output), data(faces)
    if output == "softplus":
        with torch.no_grad():  # the more of all concepts, the higher the score
            performer.fc3.weight[performer.target_index] = performer.fc3.weight[concept_indices(performer)].mean(0)
    module.optimizer = partial(torch.optim.SGD, lr=0.0)
    trainer(tmp_path, 1, beta=0.0).fit(module, datamodule=datamodule)
    batches = [performer(batch["image"]) for batch in datamodule.ordered("train")]
    score = torch.cat([b.score for b in batches]).double()
    concepts = torch.cat([b.concepts for b in batches]).double()
    design = concepts.sum(1, keepdim=True) if common else concepts
    design = torch.cat([design, torch.ones(len(design), 1)], dim=1)
    fitted = design @ torch.linalg.lstsq(design, score, driver="gelsd").solution
    module.explainer.eval()
    explained = torch.cat([module(batch["image"]).prediction for batch in datamodule.ordered("train")])
    assert (explained.detach() - fitted).norm() < 1e-3 * (fitted - fitted.mean()).norm()


def test_positive_weights_start_as_large_as_the_scores_vary_where_the_best_common_weight_is_negative(
    performer: VGG16Attributes, faces: Path, tmp_path: Path
):
    module, datamodule = distillation(performer, start=LeastSquares, output="softplus"), data(faces)
    with torch.no_grad():  # the more of all concepts, the lower the score
        performer.fc3.weight[performer.target_index] = -performer.fc3.weight[concept_indices(performer)].mean(0)
    module.optimizer = partial(torch.optim.SGD, lr=0.0)
    trainer(tmp_path, 1, beta=0.0).fit(module, datamodule=datamodule)
    batches = [performer(batch["image"]) for batch in datamodule.ordered("train")]
    score, concepts = torch.cat([b.score for b in batches]), torch.cat([b.concepts for b in batches])
    assert torch.corrcoef(torch.stack([score, concepts.sum(1)]))[0, 1] < 0
    explanation = module.eval()(next(iter(datamodule.ordered("train")))["image"])
    common = score.std() / concepts.abs().sum(1).mean()
    torch.testing.assert_close(explanation.weights, common.expand_as(explanation.weights), rtol=1e-4, atol=0)
    expected = score.mean() - common * concepts.sum(1).mean()
    torch.testing.assert_close(explanation.base_value.detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_holds_the_explainer_and_the_performers_digest(
    performer: VGG16Attributes, faces: Path, tmp_path: Path
):
    module = distillation(performer)
    one = trainer(tmp_path, 1, beta=0.2)
    one.fit(module, datamodule=data(faces))
    one.save_checkpoint(tmp_path / "c.ckpt")
    saved = torch.load(tmp_path / "c.ckpt", weights_only=True)
    assert not any("performer" in key for key in saved["state_dict"])
    assert saved["semexplain"]["performer_sha256"] == state_digest(performer)
    assert saved["semexplain"]["concepts"] == list(performer.concept_names)

    again = distillation(performer)
    trainer(tmp_path, 1, beta=0.2).test(again, datamodule=data(faces), ckpt_path=tmp_path / "c.ckpt", verbose=False)
    assert state_digest(again.explainer) == state_digest(module.explainer)


def test_a_checkpoint_of_something_else_is_refused(performer: VGG16Attributes):
    module = distillation(performer)
    checkpoint = {"state_dict": dict(module.state_dict())}
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)

    other = {**checkpoint, "semexplain": {**checkpoint["semexplain"], "performer_sha256": "0" * 64}}
    with pytest.raises(ValueError, match="belongs to another explanation: its performer_sha256 is 000"):
        module.on_load_checkpoint(other)
    missing = {key: value for key, value in checkpoint["state_dict"].items() if key != "explainer.head.weight"}
    with pytest.raises(
        ValueError, match=r"does not fit the explainer: 1 weights differ, first \['explainer.head.weight'\]"
    ):
        module.on_load_checkpoint({**checkpoint, "state_dict": missing})
    module.teacher.concept_names = module.teacher.concept_names[:5]
    with pytest.raises(ValueError, match="its concepts is"):
        module.on_load_checkpoint(checkpoint)


def test_concepts_restrict_everything(performer: VGG16Attributes, faces: Path):
    module = distillation(performer)
    names = ["Smiling", "Bald"]
    few = Distillation(
        performer,
        partial(ResNetExplainer, depth=18),
        partial(named_concepts, include=names),
        partial(torch.optim.Adam, lr=1e-3),
        partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        {"linear_map": LinearMap()},
    ).eval()
    batch = next(iter(data(faces).ordered("val")))
    explanation = few(batch["image"])
    columns = [module.teacher.concept_names.index(name) for name in few.teacher.concept_names]
    assert set(few.teacher.concept_names) == set(names)
    torch.testing.assert_close(explanation.values, performer(batch["image"]).concepts[:, columns])
    assert explanation.weights.shape == (19, 2)


def test_a_checkpoint_from_before_the_end_of_an_epoch_goes_on_as_if_it_had_not_been_interrupted(
    performer: VGG16Attributes, faces: Path, tmp_path: Path
):
    def started() -> pl.Trainer:
        new = trainer(tmp_path, 3, 0.2)
        new.check_val_every_n_epoch = 2  # then Lightning saves after the validation, when the epoch has still to end
        new.callbacks.append(ModelCheckpoint(tmp_path, "last", every_n_epochs=2, enable_version_counter=False))
        return new

    module, again = distillation(performer), distillation(performer)
    started().fit(module, datamodule=data(faces))
    started().fit(again, datamodule=data(faces), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    for one, other in zip(module.explainer.parameters(), again.explainer.parameters(), strict=True):
        assert torch.equal(one, other)
