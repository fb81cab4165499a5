"""Explainers learn from networks whose feature maps are no maps: tokens, channels last, several layers."""

from functools import partial
from pathlib import Path

import awkward
import pytest
import torch
from awkward import CASES, SHAPE, Case
from torch import Tensor

from semexplain.attributions.concept_vectors import ConceptVectors
from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.masked_network import MaskedNetwork
from semexplain.concepts.filters import Filters
from semexplain.concepts.outputs import Outputs
from semexplain.concepts.selection import all_concepts
from semexplain.explainers.narrow_resnet import NarrowResNetExplainer
from semexplain.metrics.relative_deviation import RelativeDeviation
from semexplain.performers.network import Network
from semexplain.training.checkpoints import WholeCheckpoints
from semexplain.training.distillation import Distillation

ODD = [case for case in CASES if case.make in (awkward.ClassToken, awkward.ChannelsLast, awkward.Dense)]


def images(count: int = 4) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def distillation(case: Case, kind: type) -> Distillation:
    net = Network(case.network(), case.layer, output=case.output, transform={"size": SHAPE}, kind=kind())
    torch.manual_seed(0)
    return Distillation(
        performer=net,
        explainer=partial(NarrowResNetExplainer, width=4, output="softplus" if kind is Filters else "identity"),
        concepts=all_concepts,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        metrics={"relative_deviation": RelativeDeviation()},
        ablations=1,
    )


@pytest.mark.parametrize("kind", [Filters, Outputs])
@pytest.mark.parametrize("case", ODD, ids=lambda case: f"{case}-{case.layer}")
def test_a_training_step(case: Case, kind: type):
    module = distillation(case, kind)
    module.prior_weight = 0.2
    loss = module.training_step({"image": images()}, 0)
    loss.backward()
    assert bool(loss.isfinite())
    assert all(parameter.grad is not None for parameter in module.explainer.parameters())
    explanation = module.explain_maps(module.performer.encode(images()), images())
    assert explanation.heat.shape == (4, *SHAPE[1:])
    assert explanation.contributions.shape == (4, len(module.teacher.concept_names))


def test_an_explainer_is_restored_beside_a_network_that_asks_for_its_version(tmp_path: Path):
    case = next(case for case in CASES if case.make is awkward.Versioned)
    module, again = (distillation(case, Filters) for _ in range(2))
    with torch.no_grad():
        module.explainer.bias.fill_(0.125)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    WholeCheckpoints().save_checkpoint(checkpoint, tmp_path / "best.ckpt")
    again.restore(tmp_path / "best.ckpt")
    assert float(again.explainer.bias.detach()) == 0.125


@pytest.mark.parametrize("case", ODD, ids=lambda case: f"{case}-{case.layer}")
def test_what_is_kept_gives_the_same_numbers(case: Case):
    module = distillation(case, Filters)
    net = module.performer
    feature_map = net.encode(images())
    kept = net.kind.answers(net, net.kind.prior).compute(feature_map)
    with torch.no_grad():
        fresh = module.answer({"image": images()}, with_prior=True)
        again = module.answer({"feature_map": feature_map, **kept}, with_prior=True)
    torch.testing.assert_close(again.explanation.weights, fresh.explanation.weights)
    torch.testing.assert_close(again.prior, fresh.prior)


@pytest.mark.parametrize("kind", [Filters, Outputs])
@pytest.mark.parametrize(
    "rival",
    [ConceptVectors, GradientTimesActivation, partial(MaskedNetwork, epochs=1)],
    ids=["tcav", "gradient", "masked"],
)
@pytest.mark.parametrize("case", ODD, ids=lambda case: f"{case}-{case.layer}")
def test_rivals(case: Case, rival: partial, kind: type):
    module = distillation(case, kind)
    performance, prior = module.teacher.perform({"image": images()}, with_prior=True)
    question = module.teacher.question(performance, prior)
    attribution = rival()
    attribution.fit([question])
    found = attribution.contributions(question)
    assert found.shape == performance.concepts.shape
    assert bool(found.isfinite().all())


def test_slopes_of_filters_of_tokens():
    """Gradient times activation, a second way: summed over the patches, not over the class token."""
    case = next(case for case in CASES if case.make is awkward.ClassToken)
    module = distillation(case, Filters)
    net = module.performer
    performance, _ = module.teacher.perform({"image": images()}, with_prior=False)
    leaf = net.feature(net.encode(images())).clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.head(leaf)[0].sum(), leaf)
    expected = (slope * leaf)[:, 1:].sum(1)
    torch.testing.assert_close(GradientTimesActivation().contributions(module.teacher.question(performance)), expected)
