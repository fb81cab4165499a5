"""The performer's accuracy, counted image by image."""

import torch

from semexplain.metrics.attribute_accuracy import AttributeAccuracy


def test_accuracies_are_those_of_a_count_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(57, 3, generator=generator)
    label = torch.rand(57, 3, generator=generator) < torch.tensor([0.2, 0.5, 0.9])
    metric = AttributeAccuracy(["a", "b", "c"])
    for part in (slice(0, 20), slice(20, 57)):
        metric.update(logits[part], label[part])
    result = metric.compute()
    means, balanced_means = [], []
    for column, name in enumerate("abc"):
        right = {True: [], False: []}
        for row in range(57):
            right[bool(label[row, column])].append(bool(logits[row, column] > 0) == bool(label[row, column]))
        accuracy = sum(map(sum, right.values())) / 57
        balanced = sum(sum(rows) / len(rows) for rows in right.values()) / 2
        torch.testing.assert_close(result[f"accuracy/{name}"].item(), accuracy)
        torch.testing.assert_close(result[f"balanced_accuracy/{name}"].item(), balanced)
        means.append(accuracy)
        balanced_means.append(balanced)
    torch.testing.assert_close(result["accuracy"].item(), sum(means) / 3)
    torch.testing.assert_close(result["balanced_accuracy"].item(), sum(balanced_means) / 3)


def test_a_label_that_never_changes_has_no_balanced_accuracy() -> None:
    metric = AttributeAccuracy(["always", "sometimes"])
    metric.update(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([[True, True], [True, False]]))
    result = {name: value.item() for name, value in metric.compute().items()}
    assert result == {
        "accuracy": 0.75,
        "balanced_accuracy": 0.5,
        "accuracy/always": 1.0,
        "accuracy/sometimes": 0.5,
        "balanced_accuracy/sometimes": 0.5,
    }
