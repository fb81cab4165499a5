"""Tests of semexplain.training.classification: maps that vary in training, and labels by name."""

from functools import partial

import pytest
import torch

from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.training.classification import Classification, shifted


def test_each_image_is_shifted_as_a_whole_and_its_border_repeated() -> None:
    torch.manual_seed(0)
    maps = torch.arange(2 * 3 * 4 * 5, dtype=torch.float).view(2, 3, 4, 5).repeat(20, 1, 1, 1)
    moved = shifted(maps, 1)
    seen = set()
    for image in range(40):
        fits = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if all(
                moved[image, c, h, w] == maps[image, c, min(max(h + down, 0), 3), min(max(w + right, 0), 4)]
                for c in range(3)
                for h in range(4)
                for w in range(5)
            )
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) > 5
    assert shifted(maps, 0) is maps


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_labels_are_those_of_the_outputs_whatever_the_order_of_the_columns() -> None:
    torch.manual_seed(0)
    names, outputs = ("c", "other", "a", "b"), ("a", "b", "c")
    performer = VGG16Attributes("b", outputs, weights=None, image_size=32, width=2, hidden=4, dropout=0.0)
    module = Classification(performer, names, partial(torch.optim.SGD, lr=0.1))
    image = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    label = torch.rand(6, 4) < 0.5
    told = module.label({"label": label})
    for row, truth in zip(label.tolist(), told.tolist(), strict=True):
        assert dict(zip(outputs, truth, strict=True)) == {
            name: value for name, value in zip(names, row, strict=True) if name != "other"
        }
    logits = performer.logits(performer.trunk_map(image))
    expected = 0.0
    for i in range(6):
        for k, name in enumerate(outputs):
            sign = 1.0 if label[i, names.index(name)] else -1.0
            expected += (1 + (-sign * logits[i, k]).exp()).log().item() / 6
    loss = module.training_step({"image": image, "label": label}, 0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    module.accuracy.update(logits, told)
    assert {key for key in module.accuracy.compute() if key.startswith("accuracy/")} == {
        f"accuracy/{n}" for n in outputs
    }


@pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights")
def test_an_epoch_that_was_interrupted_after_its_last_batch_ends_without_a_mean() -> None:
    performer = VGG16Attributes("b", ("a", "b"), weights=None, image_size=32, width=2, hidden=4)
    Classification(performer, ("a", "b"), partial(torch.optim.SGD, lr=0.1)).on_train_epoch_end()
