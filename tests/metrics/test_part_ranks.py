"""Order, signs and correlation across images of parts, against SciPy and a count by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from semexplain.metrics.part_ranks import PartRanks
from tests.metrics.test_part_error import batch

PARTS = ("eye", "leg", "background")


@pytest.mark.parametrize("sizes", [[41], [1, 20, 20]])
def test_means_are_over_images_of_the_target(sizes: list[int]) -> None:
    data, metric = batch(), PartRanks(PARTS)
    for part in zip(*(value.split(sizes) for value in data.values()), strict=True):
        given = dict(zip(data, part, strict=True))
        given.pop("score")
        metric.update(**given)
    result = metric.compute()
    rows = [row for row in range(41) if data["label"][row]]
    for prefix, name in {"": "part_contributions", "gradient_activation_": "part_attributions"}.items():
        ranks, signs = [], []
        for row in rows:
            own, effects = data[name][row].tolist(), data["part_effects"][row].tolist()
            ranks.append(spearmanr(own, effects).statistic)
            same = sum(abs(e) for c, e in zip(own, effects, strict=True) if c * e > 0)
            signs.append(same / sum(abs(e) for e in effects))
        assert result[f"{prefix}part_rank_correlation"].item() == pytest.approx(np.mean(ranks))
        assert result[f"{prefix}part_sign_agreement"].item() == pytest.approx(np.mean(signs))
        columns = [pearsonr(data[name][rows, part], data["part_effects"][rows, part]).statistic for part in range(3)]
        assert result[f"{prefix}part_image_correlation"].item() == pytest.approx(np.mean(columns))
    mean = data["part_effects"][rows].mean(0)
    ranks = [spearmanr(mean, data["part_effects"][row]).statistic for row in rows]
    assert result["constant_part_rank_correlation"].item() == pytest.approx(np.mean(ranks))


def test_a_constant_explanation_is_told_apart_from_one_that_looks_at_the_image() -> None:
    """Images are alike: both order the parts rightly, one alone says what is special about an image."""
    generator = torch.Generator().manual_seed(4)
    effects = torch.tensor([9.0, 6.0, 3.0]) + torch.randn(60, 3, generator=generator)
    metric = PartRanks(PARTS)
    metric.update(
        torch.ones(60),
        effects,
        effects + 0.3 * torch.randn(60, 3, generator=generator),
        effects[:1] * torch.ones(60, 1),
    )
    result = {name: value.item() for name, value in metric.compute().items()}
    assert min(result["part_rank_correlation"], result["gradient_activation_part_rank_correlation"]) > 0.9
    assert result["part_image_correlation"] > 0.9
    assert result["gradient_activation_part_image_correlation"] == 0


def test_a_part_without_filters_is_not_compared_across_images() -> None:
    data, empty = batch(), torch.zeros(41, 1, dtype=torch.float64)
    given = {name: value for name, value in data.items() if name != "score"}
    without, metric = PartRanks(PARTS), PartRanks((*PARTS, "tail"))
    without.update(**given)
    metric.update(**{name: value if name == "label" else torch.cat([value, empty], 1) for name, value in given.items()})
    for prefix in ("", "gradient_activation_"):
        name = f"{prefix}part_image_correlation"
        assert metric.compute()[name].item() == pytest.approx(without.compute()[name].item())


def test_what_has_no_order_is_left_out() -> None:
    metric = PartRanks(PARTS)
    effects = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    given = torch.tensor([[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])
    metric.update(torch.tensor([True, True]), effects, given, torch.ones(2, 3))
    result = metric.compute()
    assert result["part_rank_correlation"] == 1
    assert result["part_sign_agreement"] == 1
    assert result["gradient_activation_part_rank_correlation"].isnan()
