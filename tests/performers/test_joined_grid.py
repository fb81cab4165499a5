"""Several layers as one grid: every cell once, at its place, and back."""

from functools import partial

import awkward
import pytest
import torch

from semexplain.concepts.outputs import Outputs
from semexplain.concepts.priors import filter_jacobian
from semexplain.performers.joined_grid import JoinedGrid
from semexplain.performers.network import Network

SHAPES = [(2, 6, 5), (3, 3, 4), (13, 4), (7,)]  # maps of two sizes, three rows of four tokens after one, pooled numbers
IMAGE = (24, 32)


def joined(count: int = 2) -> tuple[JoinedGrid, torch.Tensor]:
    grid = JoinedGrid(SHAPES, IMAGE)
    return grid, torch.randn(count, sum(grid.sizes), generator=torch.Generator().manual_seed(0))


def test_every_cell_is_once_at_its_place():
    grid, value = joined()
    assert grid.shape == (2 + 3 + 4 + 7, 6, 5)
    seen = grid.seen(value)
    first = 0
    for part, one, shape in zip(value.split(grid.sizes, 1), grid.grids, SHAPES, strict=True):
        own, here = one.seen(part.unflatten(1, shape)), seen[:, first : first + one.channels]
        first += one.channels
        expected = torch.zeros_like(here)
        for row in range(one.height):
            for column in range(one.width):
                middle = (row + 0.5) / one.height * 6, (column + 0.5) / one.width * 5
                expected[:, :, int(middle[0]), int(middle[1])] += own[:, :, row, column]
        assert torch.equal(here, expected)
        torch.testing.assert_close(here.sum((2, 3)), own.sum((2, 3)))


def test_what_is_put_back_is_what_was_seen():
    grid, value = joined()
    assert torch.equal(grid.put(value, grid.seen(value)), value)
    assert grid.rest(value).shape == (2, 4)  # the token without a place
    twice = grid.put(value, torch.cat([grid.seen(value), 2 * grid.seen(value)]))
    assert torch.equal(twice[:2], value)
    doubled = (twice[2:] == 2 * value).sum(1)
    assert doubled.tolist() == [value.shape[1] - 4] * 2


@pytest.mark.parametrize("case", [case for case in awkward.CASES if isinstance(case.layer, list)], ids=str)
def test_channels_of_several_layers_are_concepts(case: awkward.Case):
    net = Network(case.network(), case.layer, output=case.output, transform={"size": awkward.SHAPE})
    image = torch.randint(0, 256, (3, *awkward.SHAPE), dtype=torch.uint8)
    x = net.feature(net.encode(image))
    assert len(net.concept_names) == net.map_shape[0] == sum(shape[0] for shape in net.upper.shapes)
    shapes = net.upper.shapes
    sizes = [torch.Size(shape).numel() for shape in shapes]
    sums = [part.unflatten(1, shape).sum((2, 3)) for part, shape in zip(x.split(sizes, 1), shapes, strict=True)]
    torch.testing.assert_close(net.head(x)[1], torch.cat(sums, 1))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(leaf)[0].sum(), leaf)
    _, prior = net.perform(net.encode(image), partial(filter_jacobian, clamp=False))
    slopes = [
        part.unflatten(1, shape).sum((2, 3)) for part, shape in zip(gradient.split(sizes, 1), shapes, strict=True)
    ]
    torch.testing.assert_close(prior, torch.cat(slopes, 1))
    assert net.hidden(x).shape == (3, net.map_shape[0])
    outputs = Network(case.network(), case.layer, output=case.output, transform={"size": awkward.SHAPE}, kind=Outputs())
    assert torch.equal(outputs.feature(outputs.encode(image)), x)
