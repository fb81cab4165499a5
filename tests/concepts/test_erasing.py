"""Names by erasing, against a count pixel by pixel, and on planted filters."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from semexplain.concepts import erasing
from semexplain.concepts.erasing import erasing_effects, soft_assignment
from semexplain.concepts.parts import OTHER

SIDE = 24
DIAGONAL = math.hypot(SIDE, SIDE)


def scene(seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """A noisy image whose object has an eye (0), a leg (2) and a large torso (1); it has no tail (3)."""
    rng = np.random.default_rng(seed)
    part_map = np.full((SIDE, SIDE), -1, np.int16)
    part_map[4:18, 4:20] = 1
    part_map[6:9, 6:9] = 0
    part_map[18:23, 8:11] = 2
    return torch.from_numpy(rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)), part_map


def within(region: set[tuple[int, int]], reach: float) -> set[tuple[int, int]]:
    pixels = [(r, c) for r in range(SIDE) for c in range(SIDE)]
    return {(r, c) for r, c in pixels if min(math.hypot(r - y, c - x) for y, x in region) <= reach}


def filled_by_hand(image: Tensor, region: set[tuple[int, int]], blurred: np.ndarray | None) -> Tensor:
    """Pixel by pixel: the mean of the ring, or the blurred image."""
    ring = sorted(within(region, erasing.RING * DIAGONAL) - region)
    result = image.clone()
    for channel in range(3):
        mean = sum(int(image[channel, r, c]) for r, c in ring) / len(ring)
        for r, c in region:
            value = mean if blurred is None else float(blurred[channel, r, c])
            result[channel, r, c] = round(value)
    return result


def gaussian(image: Tensor) -> np.ndarray:
    """Blurred row by row and column by column, the outermost pixels going on outside."""
    sigma, radius = erasing.BLUR * DIAGONAL, int(4 * erasing.BLUR * DIAGONAL + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    places = np.arange(SIDE)[:, None] + np.arange(-radius, radius + 1)
    kernel = np.zeros((SIDE, SIDE))
    for row, inside in enumerate(places.clip(0, SIDE - 1)):
        for place, weight in zip(inside, weights, strict=True):
            kernel[row, place] += weight / sum(weights)
    return kernel @ image.numpy().astype(float) @ kernel.T


def test_an_effect_is_what_the_part_takes_beyond_its_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    image, part_map = scene()
    seen: list[Tensor] = []

    def strengths(images: Tensor) -> Tensor:
        seen.append(images)
        pixels = images.double().flatten(1)
        return torch.stack([pixels.square().mean(1), pixels[:, ::7].mean(1)], 1)

    patches = []
    found_patch = erasing._patch
    monkeypatch.setattr(erasing, "_patch", lambda *given: patches.append(found_patch(*given)) or patches[-1])
    effects = erasing_effects(strengths, image, part_map, 4, seed=3)
    whole = strengths(image[None])[0]
    blurred = gaussian(image)
    for at, part in enumerate((0, 1, 2)):
        mask = within({(r, c) for r, c in np.argwhere(part_map == part).tolist()}, erasing.EDGE * DIAGONAL)
        patch = {(r, c) for r, c in np.argwhere(patches[at]).tolist()}
        taken = {}
        for name, region in {"part": mask, "patch": patch}.items():
            pictures = torch.stack([filled_by_hand(image, region, None), filled_by_hand(image, region, blurred)])
            near = (pictures.int() - seen[0][4 * at + 2 * (name == "patch") :][:2].int()).abs().max()
            assert near <= 1  # a half may be rounded either way
            taken[name] = (whole - strengths(pictures)).mean(0)
        torch.testing.assert_close(effects[part].double(), taken["part"] - taken["patch"], rtol=1e-3, atol=0.05)
    assert (effects[3] == 0).all()


@pytest.mark.parametrize("part", [0, 2])
def test_a_patch_is_as_large_as_the_part_and_elsewhere_on_the_object(part: int) -> None:
    _, part_map = scene()
    mask = part_map == part
    places = set()
    for seed in range(20):
        patch = erasing._patch(mask, part_map >= 0, np.random.default_rng(seed))
        assert patch.sum() == mask.sum()
        assert not (patch & mask).any()
        assert (part_map[patch] >= 0).all()
        places.add(patch.tobytes())
    assert len(places) > 10


def test_a_patch_leaves_an_object_that_is_too_small_for_it() -> None:
    _, part_map = scene()
    mask = part_map == 1
    patch = erasing._patch(mask, part_map >= 0, np.random.default_rng(0))
    assert patch.sum() == mask.sum()
    assert patch[(part_map >= 0) & ~mask].all()  # all that there is, and background
    full = np.ones((SIDE, SIDE), bool)
    assert (erasing._patch(full, full, np.random.default_rng(0)) == full).all()  # then part and patch take the same


def test_effects_are_the_same_again_and_none_without_a_part() -> None:
    image, part_map = scene()

    def brightness(images: Tensor) -> Tensor:
        return images.float().mean((2, 3))

    one, again = (erasing_effects(brightness, image, part_map, 4, seed=5) for _ in range(2))
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert (erasing_effects(brightness, image, np.full_like(part_map, -1), 4, seed=5) == torch.zeros(4, 3)).all()


def test_a_filter_that_fires_at_a_part_is_named_after_it_wherever_its_map_peaks() -> None:
    """One filter counts the bright pixels of the eye and one those of the leg; a third looks beside the object."""
    total = np.zeros((3, 4))
    for seed in range(12):
        image, part_map = scene(seed)
        image = image // 4 + 64
        image[:, 6:9, 6:9], image[:, 18:23, 8:11] = 250, 250

        def strengths(images: Tensor) -> Tensor:
            bright = images.float().mean(1)
            return torch.stack([bright[:, 6:9, 6:9], bright[:, 19:22, 8:11], bright[:, :3, 21:]], 1).sum((2, 3))

        total += erasing_effects(strengths, image, part_map, 4, seed).T.numpy()
    assignment, shares = soft_assignment(total / 12)
    assert assignment[:2] == [0, 2]
    assert shares[0, 0] > 0.8
    assert shares[1, 2] > 0.8


def test_shares_are_the_positive_effects_over_their_sum() -> None:
    effects = np.random.default_rng(1).normal(size=(30, 4))
    effects[7] = -np.abs(effects[7])
    assignment, shares = soft_assignment(effects)
    for i, row in enumerate(effects.tolist()):
        taken = [max(effect, 0) for effect in row]
        assert assignment[i] == (taken.index(max(taken)) if sum(taken) else OTHER)
        assert shares[i].tolist() == pytest.approx([effect / sum(taken) if sum(taken) else 0 for effect in taken])
    assert assignment[7] == OTHER
