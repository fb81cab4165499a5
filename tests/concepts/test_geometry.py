"""Maps land at the pixels that their cells look at."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from semexplain.concepts.geometry import MapGeometry

VGG_M, VGG_S, VGG_16 = MapGeometry(16, 17.0, 171), MapGeometry(12, 20.0, 137), MapGeometry(16, 7.5, 228)


def test_a_cell_looks_at_the_pixels_that_change_it():
    layers = [(7, 2, 0), (3, 2, 0), (5, 2, 1), (3, 1, 1)]
    geometry = MapGeometry.of(layers)
    image = torch.zeros(1, 1, 90, 90, dtype=torch.float64, requires_grad=True)
    maps = image
    for kernel, stride, padding in layers:
        maps = functional.conv2d(maps, torch.ones(1, 1, kernel, kernel, dtype=torch.float64), None, stride, padding)
    for row, column in [(0, 0), (3, 5), (1, 4)]:
        (influence,) = torch.autograd.grad(maps[0, 0, row, column], image, retain_graph=True)
        rows, columns = torch.nonzero(influence[0, 0], as_tuple=True)
        seen = tuple(int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        assert geometry.window(row, column, 90) == seen
    assert geometry.cell(geometry.centre(3)) == 3


@pytest.mark.parametrize(("geometry", "side"), [(VGG_M, 13), (VGG_S, 17), (VGG_16, 14)])
def test_upsampled_maps_are_those_of_one_dimensional_interpolation_twice(geometry: MapGeometry, side: int):
    maps = torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shown = geometry.upsample(maps, 224)
    assert shown.shape == (2, 3, 224, 224)
    centres = [geometry.first + geometry.stride * cell for cell in range(side)]
    tall = np.stack([np.interp(range(224), centres, maps[1, 2, :, column]) for column in range(side)], 1)
    expected = np.stack([np.interp(range(224), centres, row) for row in tall])
    np.testing.assert_allclose(shown[1, 2], expected, atol=1e-12)


def test_the_first_cell_of_vgg_m_is_at_pixel_17_where_even_spreading_puts_it_at_8():
    maps = torch.zeros(13, 13)
    maps[0, 0] = 1
    shown = VGG_M.upsample(maps, 224)
    assert (shown[17, 17], shown[17, 33], shown[0, 0]) == (1, 0, 1)
    spread = functional.interpolate(maps[None, None], size=224, mode="bilinear", align_corners=False)[0, 0]
    assert spread[17, 17] < 0.5
    even = torch.rand(1, 1, 14, 14)
    same = functional.interpolate(even, size=224, mode="bilinear", align_corners=False)
    torch.testing.assert_close(VGG_16.upsample(even, 224), same)


def test_a_map_of_one_cell_is_constant():
    assert (MapGeometry(32, 15.5, 40).upsample(torch.tensor([[3.0]]), 20) == 3).all()
