"""Tests of semexplain.explanation: Eq. (1) and what it leaves alone."""

from dataclasses import replace

import torch

from semexplain.explanation import Explanation


def explanation(bias: float = 0.5) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    score, concepts, weights = (torch.randn(*shape, generator=generator) for shape in [(4,), (4, 3), (4, 3)])
    return Explanation(score, concepts, weights, torch.tensor(bias), ("Smiling", "Goatee", "No_Beard"), "Male")


def test_prediction_is_eq_1_image_by_image() -> None:
    explained = explanation()
    for image in range(4):
        total = 0.5 + sum(float(explained.weights[image, i] * explained.values[image, i]) for i in range(3))
        torch.testing.assert_close(explained.prediction[image], torch.tensor(total))
        torch.testing.assert_close(explained.residual[image], explained.score[image] - total)


def test_the_bias_moves_the_prediction_and_no_contribution() -> None:
    before, after = explanation(0.5), explanation(5.5)
    torch.testing.assert_close(after.prediction, before.prediction + 5)
    torch.testing.assert_close(after.contributions, before.contributions, rtol=0, atol=0)


def test_a_common_scale_of_concepts_and_weights_changes_nothing() -> None:
    before = explanation()
    after = replace(before, values=before.values * 3, weights=before.weights / 3)
    torch.testing.assert_close(after.contributions, before.contributions)
    torch.testing.assert_close(after.prediction, before.prediction)
