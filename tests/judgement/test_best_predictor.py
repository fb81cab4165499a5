"""The best predictor from the concepts alone, against regressions that are solved one image at a time."""

import torch

from semexplain.judgement.best_predictor import FOLDS, PENALTIES, predicted


def test_a_linear_score_is_predicted_from_folds_that_do_not_hold_it():
    generator = torch.Generator().manual_seed(0)
    concepts = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    score = concepts @ torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64) + 3
    torch.testing.assert_close(predicted(concepts, score), score, rtol=0, atol=1e-3)
    other = score.clone()
    other[::FOLDS] += 100 * torch.randn(12, generator=generator, dtype=torch.float64)  # a fold does not fit itself
    torch.testing.assert_close(predicted(concepts, other)[::FOLDS], score[::FOLDS], rtol=0, atol=1e-3)


def test_what_concepts_do_not_tell_is_not_predicted():
    generator = torch.Generator().manual_seed(1)
    concepts, score = torch.randn(200, 6, generator=generator), torch.randn(200, generator=generator)
    left = (score - predicted(concepts, score)).abs().mean() / (score - score.mean()).abs().mean()
    assert left > 0.9


def test_kernel_and_penalty_are_those_of_the_least_leave_one_out_error():
    """Again by solving a ridge regression without each image in turn."""
    generator = torch.Generator().manual_seed(2)
    concepts = torch.randn(25, 3, generator=generator, dtype=torch.float64)
    score = concepts[:, 0] ** 2 + 0.1 * torch.randn(25, generator=generator, dtype=torch.float64)
    z = (concepts - concepts.mean(0)) / concepts.std(0, correction=0)
    products = z @ z.T
    distances = torch.cdist(z, z) ** 2
    fold = torch.arange(25) % FOLDS
    for number in range(FOLDS):
        kept, held = fold != number, fold == number
        y = score[kept] - score[kept].mean()
        candidates = []
        for kernel in (products, torch.exp(-distances / (2 * 3))):
            at_mean = torch.eye(25, dtype=y.dtype) - kept.double() / kept.sum()  # features measured from their mean
            centred = at_mean @ kernel @ at_mean.T
            inner, size = centred[kept][:, kept], centred[kept][:, kept].diagonal().mean()
            for penalty in PENALTIES:
                errors = []
                for one in range(len(y)):
                    rest = torch.arange(len(y)) != one
                    system = inner[rest][:, rest] + penalty * size * torch.eye(len(y) - 1, dtype=y.dtype)
                    errors.append((y[one] - inner[one, rest] @ torch.linalg.solve(system, y[rest])).abs())
                system = inner + penalty * size * torch.eye(len(y), dtype=y.dtype)
                answer = score[kept].mean() + centred[held][:, kept] @ torch.linalg.solve(system, y)
                candidates.append((float(torch.stack(errors).mean()), answer))
        best = min(candidates, key=lambda candidate: candidate[0])[1]
        torch.testing.assert_close(predicted(concepts, score)[held], best, rtol=1e-5, atol=1e-6)
