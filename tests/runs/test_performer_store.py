"""What the store adds to the training of a performer."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semexplain.data.images import Split
from semexplain.performers.base import logistic_loss
from semexplain.runs.performer_training import class_weights
from semexplain.system.config import ConfigError


def data(labels: list[list[bool]], repeats: list[int] | None = None) -> SimpleNamespace:
    ids = tuple(map(str, range(len(labels))))
    counts = None if repeats is None else np.array(repeats)
    return SimpleNamespace(names=("dog", "cat"), splits={"train": Split(ids, (), np.array(labels), repeats=counts)})


def test_images_with_and_without_a_label_weigh_as_much_together():
    labels = [[True, False], [False, False], [False, True], [False, False]]
    repeats = [1, 2, 3, 0]
    weights = class_weights(data(labels, repeats), ("dog", "cat")).tolist()
    for label in range(2):
        total = [0.0, 0.0]
        for row, times in zip(labels, repeats, strict=True):
            total[row[label]] += times * weights[row[label]][label]
        assert total == pytest.approx([3, 3])  # six images in all
    assert class_weights(data(labels), ("dog", "cat")).tolist() == [
        pytest.approx([4 / 6, 4 / 6]),
        pytest.approx([2, 2]),
    ]


def test_a_label_that_never_changes_cannot_be_balanced():
    with pytest.raises(ConfigError, match=r"performer_training.balance: all or no training images have cat"):
        class_weights(data([[True, False], [False, False]]), ("dog", "cat"))


def test_the_weights_enter_the_loss_image_by_image():
    logits, label = torch.tensor([[0.5, -1.0], [2.0, 0.3]]), torch.tensor([[True, False], [False, True]])
    weights = torch.tensor([[0.7, 3.0], [2.0, 0.1]])
    expected = 0.0
    for image in range(2):
        for k in range(2):
            sign = 1 if label[image, k] else -1
            expected += weights[int(label[image, k]), k].item() * np.log1p(np.exp(-sign * logits[image, k].item()))
    assert logistic_loss(logits, label, weights).item() == pytest.approx(expected / 2, rel=1e-5)
