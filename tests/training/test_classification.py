"""Tests of semexplain.training.classification: maps that vary in training."""

import torch

from semexplain.training.classification import shifted


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
