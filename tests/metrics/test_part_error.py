"""Table 3's error, against a transcription that goes image by image and part by part."""

import pytest
import torch

from semexplain.metrics.part_error import PartError

PARTS = ("eye", "leg", "background")


def batch(size: int = 41, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    effects = randn(size, 3) + 1
    effects[3] = torch.tensor([1.0, -1.0, 0.0])  # cancel: no scale
    label = randn(size) > -0.5
    label[3] = True
    return {
        "score": randn(size) + 3,
        "label": label,
        "part_effects": effects,
        "part_contributions": randn(size, 3) + 1,
        "part_attributions": effects + 0.1,
    }


def by_hand(data: dict[str, torch.Tensor], given: str, part: int) -> float:
    wrong, scores = 0.0, 0.0
    for row in range(len(data["score"])):
        if not data["label"][row]:
            continue
        score, effects = data["score"][row].item(), data["part_effects"][row].tolist()
        if abs(sum(effects)) < 1e-3 * abs(score):
            continue
        wrong += abs(data[given][row, part].item() - score * effects[part] / sum(effects))
        scores += score
    return wrong / scores


@pytest.mark.parametrize("sizes", [[41], [1, 20, 20], [40, 1]])
def test_errors_are_those_of_a_count_by_hand(sizes: list[int]) -> None:
    data, metric = batch(), PartError(PARTS)
    for part in zip(*(value.split(sizes) for value in data.values()), strict=True):
        metric.update(**dict(zip(data, part, strict=True)))
    result = {name: value.item() for name, value in metric.compute().items()}
    for prefix, given in {
        "part_error": "part_contributions",
        "gradient_activation_part_error": "part_attributions",
    }.items():
        expected = [by_hand(data, given, part) for part in range(3)]
        assert [result[f"{prefix}/{name}"] for name in PARTS] == pytest.approx(expected, rel=1e-12)
        assert result[f"{prefix}_mean"] == pytest.approx((expected[0] + expected[1]) / 2, rel=1e-12)
    assert sum(result[f"part_share/{name}"] for name in PARTS) == pytest.approx(1)
    assert result["part_error_images"] == data["label"].sum() - 1
    assert result["part_error_parts"] == 2
    assert result["part_error_skipped"] == 1


def test_a_linear_performer_with_the_right_weights_has_no_error_but_its_intercept() -> None:
    """Score = Σ aᵢ yᵢ + b0: right weights leave |b0| E|Δp / ΣΔ| / E[ŷ], which is 0 without an intercept."""
    generator = torch.Generator().manual_seed(1)
    strength = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    contributions = strength * torch.tensor([2.0, 1.0, 4.0])
    for intercept in (0.0, 0.7):
        metric, score = PartError(PARTS), contributions.sum(1) + intercept
        metric.update(score, score > -1, contributions, contributions, contributions)
        share = (contributions / contributions.sum(1, keepdim=True)).abs().mean(0)
        expected = intercept * share / score.mean()
        result = metric.compute()
        torch.testing.assert_close(torch.stack([result[f"part_error/{name}"] for name in PARTS]), expected)


def test_without_an_image_of_the_target_there_is_no_error() -> None:
    metric, data = PartError(PARTS), batch()
    metric.update(**{**data, "label": torch.zeros(41, dtype=torch.bool)})
    result = metric.compute()
    assert result["part_error_images"] == 0
    assert result["part_error/eye"].isnan()


def test_a_part_that_no_filter_belongs_to_has_no_error_and_does_not_count() -> None:
    data, metric, without = batch(), PartError(("ear", *PARTS)), PartError(PARTS)
    without.update(**data)
    metric.update(
        **{name: torch.nn.functional.pad(value, (1, 0)) if "part" in name else value for name, value in data.items()}
    )
    assert {name: value.item() for name, value in metric.compute().items()} == pytest.approx(
        {name: value.item() for name, value in without.compute().items()}
    )
