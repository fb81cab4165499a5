"""Agreement with a known truth, and what is done where there is none."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from semexplain.metrics.truth_agreement import TruthAgreement


def measured(contributions: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    metric = TruthAgreement()
    metric.update(contributions, truth)
    return {name: value.item() for name, value in metric.compute().items()}


def test_it_is_what_a_loop_over_the_known_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    given, truth = torch.randn(2, 25, 6, generator=generator)
    truth[torch.rand(25, 6, generator=generator) < 0.2] = torch.nan
    truth[4] = torch.nan
    ranks, signs, wrong, total = [], [], 0.0, 0.0
    for own, true in zip(given.tolist(), truth.tolist(), strict=True):
        pairs = [(g, t) for g, t in zip(own, true, strict=True) if t == t]
        if not pairs:
            continue
        if len(pairs) > 1:
            ranks.append(spearmanr(*zip(*pairs, strict=True)).statistic)
        signs.append(sum(abs(t) for g, t in pairs if np.sign(g) == np.sign(t)) / sum(abs(t) for _, t in pairs))
        wrong += sum(abs(g - t) for g, t in pairs)
        total += sum(abs(t) for _, t in pairs)
    expected = {
        "rank_correlation": np.mean(ranks),
        "sign_agreement": np.mean(signs),
        "contribution_error": wrong / total,
        "image_correlation": np.mean([pearson(given[:, i], truth[:, i]) for i in range(6)]),
        "constant_rank_correlation": of_a_constant(truth),
    }
    assert measured(given, truth) == pytest.approx(expected, rel=1e-5)


def pearson(given: torch.Tensor, truth: torch.Tensor) -> float:
    known = [row for row, value in enumerate(truth.tolist()) if value == value]
    return pearsonr(given[known], truth[known]).statistic


def of_a_constant(truth: torch.Tensor) -> float:
    """Mean rank correlation of the mean truth with each image's."""
    table = truth.double().numpy()
    mean, ranks = np.nanmean(table, axis=0), []
    for row in table:
        known = ~np.isnan(row)
        if known.sum() > 1:
            ranks.append(spearmanr(mean[known], row[known]).statistic)
    return float(np.mean(ranks))


def test_a_constant_has_no_correlation_across_images_but_ranks() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = 5 * torch.arange(4.0) + torch.randn(30, 4, generator=generator)  # images are alike
    found = measured(truth.mean(0).expand(30, 4), truth)
    assert found["image_correlation"] == 0
    assert found["rank_correlation"] == pytest.approx(found["constant_rank_correlation"])
    assert found["rank_correlation"] > 0.9
    shuffled = truth[torch.randperm(30, generator=generator)]
    assert measured(shuffled, truth)["image_correlation"] < 0.5 < measured(shuffled, truth)["rank_correlation"]


def test_the_truth_itself_agrees() -> None:
    truth = torch.randn(25, 6, generator=torch.Generator().manual_seed(0))
    beside = {"image_correlation": 1, "constant_rank_correlation": of_a_constant(truth)}
    assert measured(truth, truth) == pytest.approx(
        {"rank_correlation": 1, "sign_agreement": 1, "contribution_error": 0} | beside
    )
    assert measured(3 * truth, truth) == pytest.approx(
        {"rank_correlation": 1, "sign_agreement": 1, "contribution_error": 2} | beside
    )
    assert measured(-truth, truth) == pytest.approx(
        {"rank_correlation": -1, "sign_agreement": 0, "contribution_error": 2} | beside | {"image_correlation": -1}
    )
    assert measured(0 * truth, truth)["contribution_error"] == 1


def test_what_a_concept_of_unknown_truth_is_given_does_not_matter() -> None:
    truth = torch.randn(25, 6, generator=torch.Generator().manual_seed(0))
    given, unknown = truth + 1, truth.clone()
    unknown[:, 2] = torch.nan
    expected = measured(given[:, [0, 1, 3, 4, 5]], truth[:, [0, 1, 3, 4, 5]])
    for other in (-100.0, torch.nan, torch.inf):
        given[:, 2] = other
        assert measured(given, unknown) == expected


def test_a_diverged_explainer_shows() -> None:
    truth = torch.randn(25, 6, generator=torch.Generator().manual_seed(0))
    given = truth.clone()
    given[3, 3] = torch.nan
    found = measured(given, truth)
    assert not np.isnan(found.pop("constant_rank_correlation"))  # which is not the explainer's
    assert all(np.isnan(value) for value in found.values())


def test_a_truth_of_other_concepts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"with nan for what is not known, got \(1, 3\) and \(4, 3\)"):
        TruthAgreement().update(torch.zeros(4, 3), torch.zeros(1, 3))
