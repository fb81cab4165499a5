"""Whether a filter sees the whole object, against a count pixel by pixel."""

import numpy as np
import pytest

from semexplain.concepts import part_proposals
from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.sight import sees_whole_object


@pytest.mark.parametrize("field", [7, 21, 60, 90])
def test_a_field_covers_the_object_if_it_covers_each_of_its_pixels(field: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_proposals, "STRONGEST", 6)
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.normal(size=(9, 4, 5, 6)) - 1, 0)
    maps[:, 3] = 0
    part_maps = np.full((9, 40, 48), -1)
    for image in range(9):
        top, left = rng.integers(0, 30, 2)
        part_maps[image, top : top + 6, left : left + 9] = 0
        part_maps[image, top + 2, left + 3] = 1
    geometry = MapGeometry(8, 3.5, field)
    found = sees_whole_object(maps, part_maps, geometry)
    for i in range(3):
        covered = []
        for image in np.argsort(-maps[:, i].max((1, 2)), kind="stable")[:6]:
            row, column = np.unravel_index(maps[image, i].argmax(), (5, 6))
            if maps[image, i, row, column] > 0:
                pixels = np.argwhere(part_maps[image] >= 0)
                away = np.abs(pixels - [3.5 + 8 * row, 3.5 + 8 * column])
                covered.append(bool((away <= (field - 1) / 2).all()))
        assert found[i] == pytest.approx(np.mean(covered))
    assert np.isnan(found[3])
    assert field < 90 or (found[:3] == 1).all()
