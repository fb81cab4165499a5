"""The same numbers as Captum and Quantus, on the same inputs, where they compute the same thing.

Concepts are the inputs of a small network; a concept is taken away by setting it to 0. Where a definition differs, the
test says how.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semexplain.attributions.faithfulness import concept_curves, end_scores, noisy_maps, random_subsets, subset_effects
from semexplain.metrics.completeness_gap import CompletenessGap
from semexplain.metrics.concept_curves import ConceptCurves
from semexplain.metrics.contribution_entropy import contribution_entropy
from semexplain.metrics.faithfulness_correlation import FaithfulnessCorrelation
from semexplain.metrics.randomisation_similarity import RandomisationSimilarity
from semexplain.metrics.ranks import rank_correlation
from semexplain.metrics.stability import Stability

IMAGES, N = 6, 12


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Flatten(), nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, 1)).double().eval().requires_grad_(False)
    )


@pytest.fixture
def values() -> Tensor:
    return torch.randn(IMAGES, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slope_times_value(network: nn.Module, values: Tensor) -> Tensor:
    leaf = values.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(network(leaf).sum(), leaf)
    return slope * values


def game_of(network: nn.Module, values: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda present: network((present * values).flatten(0, -2)).view(present.shape[:-1])


def computed(metric: Any, *fields: Tensor) -> Any:
    metric.update(*fields)
    return metric.compute()


# -- Captum ----------------------------------------------------------------------------------------------------------


def test_infidelity_is_captums(network: nn.Module, values: Tensor) -> None:
    """Its perturbation of a global attribution is which inputs are taken away."""
    captum = pytest.importorskip("captum.metrics")
    given, subsets = slope_times_value(network, values), random_subsets(N).double()

    def perturbed(inputs: Tensor) -> tuple[Tensor, Tensor]:
        removed = subsets.repeat(IMAGES, 1)  # it repeats every image 32 times in a row
        return removed, inputs * (1 - removed)

    theirs = captum.infidelity(network, perturbed, values, given, n_perturb_samples=len(subsets))
    ours = computed(FaithfulnessCorrelation(), *subset_effects(game_of(network, values), given))
    torch.testing.assert_close(ours["infidelity"], theirs.mean())


def test_max_sensitivity_is_captums(network: nn.Module, values: Tensor) -> None:
    captum = pytest.importorskip("captum.metrics")
    maps = values[:, :, None, None]
    noisy = noisy_maps(maps, count=5, size=0.1).double()
    explained = [slope_times_value(network, one[:, :, 0, 0]) for one in noisy]
    theirs = captum.sensitivity_max(
        lambda inputs: (slope_times_value(network, inputs[0] if isinstance(inputs, tuple) else inputs),),
        values,
        lambda inputs: noisy.transpose(0, 1).reshape(IMAGES * 5, N).to(inputs),
        n_perturb_samples=5,
    )
    ours = computed(Stability(), slope_times_value(network, values), torch.stack(explained, 1))
    torch.testing.assert_close(ours["max_sensitivity"], theirs.mean())


# -- Quantus ---------------------------------------------------------------------------------------------------------
# It explains images: concepts are pixels of a picture of 1 x 3 x 4.


@pytest.fixture
def quantus() -> Any:
    return pytest.importorskip("quantus")


def pictures(rows: Tensor) -> np.ndarray:
    return rows.numpy().reshape(-1, 1, 3, 4).copy()


def asked(metric: Any, network: nn.Module, values: Tensor, given: Tensor, **options: Any) -> np.ndarray:
    """What a metric of Quantus says of the images; it computes scores in single precision."""
    answer = metric(
        model=copy.deepcopy(network).float(),
        x_batch=pictures(values),
        y_batch=np.zeros(len(values), dtype=int),
        a_batch=pictures(given),
        device="cpu",
        channel_first=True,
        softmax=False,
        **options,
    )
    return np.asarray(answer, dtype=float)


ABSENT = {"perturb_baseline": 0.0}  # its "black" is the least value of the batch
PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}  # it would divide by the largest


def test_entropy_is_quantus_complexity(quantus: Any, network: nn.Module, values: Tensor) -> None:
    """For contributions of one sign, since it takes shares with their sign. There low is wanted, here high."""
    given = slope_times_value(network, values).abs()
    theirs = asked(quantus.Complexity(**PLAIN), network, values, given)
    np.testing.assert_allclose(contribution_entropy(given).numpy(), theirs, rtol=1e-9)


def test_faithfulness_correlation_is_quantus_on_the_same_subsets(
    quantus: Any, network: nn.Module, values: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws other subsets for every image; here it is given ours, run by run, the same for every image."""
    given, subsets = slope_times_value(network, values), random_subsets(N)
    drawn = iter([row.nonzero()[:, 0].numpy() for row in subsets for _ in range(IMAGES)])
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(drawn))
    size = int(subsets[0].sum())
    metric = quantus.FaithfulnessCorrelation(nr_runs=32, subset_size=size, **ABSENT, **PLAIN)
    theirs = asked(metric, network, values, given)
    assert next(drawn, None) is None
    ours = computed(FaithfulnessCorrelation(), *subset_effects(game_of(network, values), given))
    assert ours["faithfulness_correlation"].item() == pytest.approx(theirs.mean(), rel=1e-4)


def test_completeness_is_quantus_yes_or_no(quantus: Any, values: Tensor) -> None:
    """It says whether the gap is exactly 0, ours how large it is; so the numbers here are whole."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(N, 1)).double().eval().requires_grad_(False)
    for parameter in linear.parameters():
        parameter.copy_((10 * parameter).round() + 1)
    values = (3 * values).round()
    ends = end_scores(game_of(linear, values), values)
    given = slope_times_value(linear, values)
    given[::2, 0] += 1
    theirs = asked(quantus.Completeness(**ABSENT, **PLAIN), linear, values, given)
    ours = [computed(CompletenessGap(), given[[i]], ends[0][[i]], ends[1][[i]]).item() for i in range(IMAGES)]
    assert theirs.tolist() == [0, 1] * (IMAGES // 2)
    assert [gap == 0 for gap in ours] == [False, True] * (IMAGES // 2)
    assert ours[0] == pytest.approx(1 / abs(ends[0][0] - ends[1][0]).item())


def test_sensitivities_are_quantus(quantus: Any, network: nn.Module, values: Tensor) -> None:
    noisy = noisy_maps(values[:, :, None, None], count=5, size=0.1)[..., 0, 0].double()
    given = slope_times_value(network, values)
    explained = torch.stack([slope_times_value(network, one) for one in noisy], 1)
    ours = computed(Stability(), given, explained)
    for name, metric in {
        "average_sensitivity": quantus.AvgSensitivity,
        "max_sensitivity": quantus.MaxSensitivity,
    }.items():
        coming = iter(noisy)
        theirs = asked(
            metric(nr_samples=5, perturb_func=lambda arr, coming=coming, **_: next(coming).numpy(), **PLAIN),
            network,
            values,
            given,
            explain_func=lambda model, inputs, targets, **_: pictures(
                slope_times_value(network, torch.as_tensor(inputs).reshape(-1, N))
            ),
        )
        assert ours[name].item() == pytest.approx(theirs.mean(), rel=1e-6)


def test_rank_correlation_is_what_quantus_compares_randomised_explanations_by(
    quantus: Any, network: nn.Module, values: Tensor
) -> None:
    """Its MPRT re-draws layer after layer and keeps signs unless told not to; a comparison is the same."""
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(N, 16), nn.Tanh(), nn.Linear(16, 1)).double().requires_grad_(False)
    own, redrawn = slope_times_value(network, values), slope_times_value(other, values)
    theirs = quantus.similarity_func.correlation_spearman(own.abs().numpy(), redrawn.abs().numpy(), batched=True)
    np.testing.assert_allclose(rank_correlation(own.abs(), redrawn.abs()).numpy(), theirs, atol=1e-12)
    assert computed(RandomisationSimilarity(), own, redrawn).item() == pytest.approx(np.mean(theirs))


def test_the_deletion_curve_is_quantus_pixel_flipping(quantus: Any, network: nn.Module, values: Tensor) -> None:
    """It starts after the first step and takes the largest first whatever the score does: here the score falls."""
    chosen = values[(network(values) > network(0 * values))[:, 0]]
    assert len(chosen) > 1
    given = slope_times_value(network, chosen)
    deletion, insertion = concept_curves(game_of(network, chosen), given)
    theirs = asked(quantus.PixelFlipping(features_in_step=1, **ABSENT, **PLAIN), network, chosen, given)
    np.testing.assert_allclose(deletion[:, 1:].numpy(), theirs, rtol=1e-4, atol=1e-5)
    ours = computed(ConceptCurves(), deletion, insertion)["deletion_area"].item()
    mean = (deletion[:, 0].numpy() / 2 + theirs[:, :-1].sum(1) + theirs[:, -1] / 2) / N
    change = deletion[:, 0].numpy() - theirs[:, -1]
    assert ours == pytest.approx((mean - theirs[:, -1]).sum() / change.sum(), rel=1e-4)
