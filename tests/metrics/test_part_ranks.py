"""Order and signs of parts, against SciPy and a count by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from semexplain.metrics.part_ranks import PartRanks
from tests.metrics.test_part_error import batch

PARTS = ("eye", "leg", "other")


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


def test_what_has_no_order_is_left_out() -> None:
    metric = PartRanks(PARTS)
    effects = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    given = torch.tensor([[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]])
    metric.update(torch.tensor([True, True]), effects, given, torch.ones(2, 3))
    result = metric.compute()
    assert result["part_rank_correlation"] == 1
    assert result["part_sign_agreement"] == 1
    assert result["gradient_activation_part_rank_correlation"].isnan()
