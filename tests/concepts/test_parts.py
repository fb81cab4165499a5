"""Names of filters: proposals against loops over pixels, contributions against loops over filters, files."""

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from semexplain.concepts import part_proposals
from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.part_proposals import location_stability, propose_by_iou, propose_by_peak
from semexplain.concepts.parts import (
    OTHER,
    UNSAID,
    Parts,
    merge,
    read_parts,
    write_parts,
)

NAMES = ("eye", "leg", "tail")
SIDE, SIZE = 6, 36
GEOMETRY = MapGeometry(stride=5, first=5.5, receptive_field=9)
PERFORMER = {"category": "dog", "sha256": "ab12", "layer": "conv6", "n": 4}
Arrays = tuple[np.ndarray, np.ndarray]


def part_maps(rng: np.random.Generator, count: int) -> np.ndarray:
    """Three rectangles that no pixel is equally near to; not every image has them all."""
    drawn = np.full((count, SIZE, SIZE), -1, np.int16)
    for image in range(count):
        for part, (left, right) in enumerate([(1, 6), (11, 21), (27, 34)]):
            if rng.random() < 0.8:
                upper = rng.integers(0, 20)
                drawn[image, upper : upper + rng.integers(4, 14), left:right] = part
    return drawn


@pytest.fixture
def arrays(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Random sparse maps of five filters, one of them dead, with part maps; seven images count, blocks are small."""
    monkeypatch.setattr(part_proposals, "STRONGEST", 7)
    monkeypatch.setattr(part_proposals, "BLOCK", 3)
    rng = np.random.default_rng(3)
    maps = np.maximum(rng.normal(size=(11, 5, SIDE, SIDE)) - 0.5, 0).astype(np.float32)
    maps[:, 4] = 0
    maps[:6, 3] = 0  # silent in more images than count
    return maps, part_maps(rng, 11)


def strongest(maps: np.ndarray, i: int) -> list[tuple[int, float, int, int]]:
    """Image, strength, row and column of the seven strongest peaks of a filter that are above 0."""
    found = []
    for image in range(len(maps)):
        value, row, column = max((maps[image, i, r, c], r, c) for r in range(SIDE) for c in range(SIDE))
        found.append((image, float(value), row, column))
    return [peak for peak in sorted(found, key=lambda peak: -peak[1])[:7] if peak[1] > 0]


def nearest(part_map: np.ndarray, row: int, column: int) -> int:
    """The part nearest to a pixel, if within 5 % of the diagonal."""
    best = (0.05 * np.sqrt(2 * SIZE**2), -1)
    for part in range(3):
        pixels = np.argwhere(part_map == part)
        if len(pixels):
            best = min(best, (np.hypot(*(pixels - (row, column)).T).min(), part))
    return best[1]


def named(scores: list[list[float]], least: float) -> list[int]:
    return [row.index(max(row)) if max(row) >= least and max(row) > 0 else -1 for row in scores]


# -- proposals ---------------------------------------------------------------------------------------------------------


def test_peaks_are_counted_for_the_nearest_part_against_random_pixels(
    arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_proposals, "BEYOND_CHANCE", 0.5)
    maps, masks = arrays
    share = [[0.0] * 3 for _ in masks]
    for image, mask in enumerate(masks):
        for row in range(SIZE):
            for column in range(SIZE):
                if (hit := nearest(mask, row, column)) >= 0:
                    share[image][hit] += 1 / SIZE**2
    expected = []
    for i in range(5):
        excess, variance = [0.0] * 3, [0.0] * 3
        for image, strength, row, column in strongest(maps, i):
            pixel = (5.5 + 5 * row + 0.5, 5.5 + 5 * column + 0.5)  # centres lie between pixels: the next one
            hit = nearest(masks[image], int(pixel[0]), int(pixel[1]))
            for part in range(3):
                excess[part] += strength * ((hit == part) - share[image][part])
                variance[part] += strength**2 * share[image][part] * (1 - share[image][part])
        expected.append([a / b**0.5 if b > 0 else 0.0 for a, b in zip(excess, variance, strict=True)])
    assignment, scores = propose_by_peak(maps, masks, NAMES, GEOMETRY)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert assignment == named(expected, 0.5)
    assert len(set(assignment)) > 1
    assert assignment[4] == OTHER


def planted(count: int = 30) -> Arrays:
    """Filter k peaks inside part k, filter 3 anywhere, on images that have all parts."""
    rng = np.random.default_rng(5)
    masks = np.full((count, SIZE, SIZE), -1, np.int16)
    maps = np.zeros((count, 4, SIDE, SIDE), np.float32)
    for image in range(count):
        for part, left in enumerate([0, 12, 24]):
            row = int(rng.integers(1, 4))
            upper = 5 * row
            masks[image, upper : upper + 11, left : left + 11] = part
            maps[image, part, row, [0, 2, 4][part]] = 1 + rng.random()
        maps[image, 3, *rng.integers(0, SIDE, 2)] = 1
    return maps, masks


@pytest.mark.parametrize("propose", [propose_by_peak, propose_by_iou])
def test_filters_planted_at_parts_get_their_names_and_a_roaming_one_none(
    propose: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_proposals, "ACTIVE_SHARE", 1 / SIDE**2)  # one cell of each map is active
    assignment, scores = propose(*planted(), NAMES, GEOMETRY)
    assert assignment[:3] == [0, 1, 2]
    assert scores.shape == (4, 3)
    if propose is propose_by_peak:
        assert assignment[3] == OTHER


def test_a_large_part_is_not_preferred_because_random_peaks_hit_it() -> None:
    """Nine peaks in ten on a part that fills nine tenths of the image are chance; the tenth on a small one is not."""
    masks = np.full((10, SIZE, SIZE), 0, np.int16)
    masks[:, 20:22, 20:22] = 1
    maps = np.zeros((10, 1, SIDE, SIDE), np.float32)
    maps[:9, 0, 0, 0] = 1
    maps[9, 0, 3, 3] = 1  # at pixel 21
    assignment, scores = propose_by_peak(maps, masks, ("torso", "eye"), GEOMETRY)
    assert assignment == [1]
    assert scores[0, 0] < 1 < scores[0, 1]


def test_a_large_part_gets_the_filters_that_keep_to_it() -> None:
    """A part that fills half of the image can be hit at most twice as often as by chance, and yet have filters."""
    masks = np.full((60, SIZE, SIZE), -1, np.int16)
    masks[:, :17] = 0
    masks[:, 30:32, 30:32] = 1
    maps = np.zeros((60, 1, SIDE, SIDE), np.float32)
    for image in range(60):
        maps[image, 0, image % 2, image % SIDE] = 1
    assert propose_by_peak(maps, masks, ("torso", "eye"), GEOMETRY)[0] == [0]


def test_regions_of_the_strongest_cells_are_compared_with_the_masks(
    arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_proposals, "ACTIVE_SHARE", 0.05)
    monkeypatch.setattr(part_proposals, "OVERLAP", 0.1)
    maps, masks = arrays
    centres = [5.5 + 5 * cell for cell in range(SIDE)]
    expected = []
    for i in range(5):
        ordered = sorted(maps[:, i].ravel().tolist())
        place = 0.95 * (len(ordered) - 1)
        threshold = np.interp(place, range(len(ordered)), ordered)
        overlapping, present = [0] * 3, [0] * 3
        for image, mask in enumerate(masks):
            tall = np.stack([np.interp(range(SIZE), centres, maps[image, i, :, c]) for c in range(SIDE)], 1)
            region = np.stack([np.interp(range(SIZE), centres, row) for row in tall]) > threshold
            for part in range(3):
                has = mask == part
                present[part] += has.any()
                overlapping[part] += has.any() and (region & has).sum() / (region | has).sum() > 0.1
        expected.append([a / b for a, b in zip(overlapping, present, strict=True)])
    assignment, scores = propose_by_iou(maps, masks, NAMES, GEOMETRY)
    np.testing.assert_allclose(scores, expected)
    assert assignment == named(expected, 0)
    assert 0 < np.count_nonzero(scores) < 12
    assert assignment[4] == OTHER


def test_location_stability_is_the_spread_of_the_distances_to_the_parts(arrays: Arrays) -> None:
    maps, masks = arrays
    masks[:, :, 27:] = -1
    masks[8, 30:33, 30:33] = 2  # a part that a single image has says nothing
    expected = []
    for i in range(4):
        spreads = []
        for part in range(3):
            distances = []
            for image, _, row, column in strongest(maps, i):
                pixels = [(r, c) for r in range(SIZE) for c in range(SIZE) if masks[image, r, c] == part]
                if pixels:
                    centroid = [statistics.mean(axis) for axis in zip(*pixels, strict=True)]
                    away = np.hypot(5.5 + 5 * row - centroid[0], 5.5 + 5 * column - centroid[1])
                    distances.append(away / np.sqrt(2 * SIZE**2))
            if len(distances) > 1:
                spreads.append(statistics.pstdev(distances))
        expected.append(statistics.mean(spreads))
    stability, mean = location_stability(maps, masks, GEOMETRY)
    np.testing.assert_allclose(stability[:4], expected)
    assert np.isnan(stability[4])
    assert mean == pytest.approx(statistics.mean(expected))


def test_a_filter_that_follows_its_part_is_stabler_than_one_that_roams() -> None:
    stability, _ = location_stability(*planted(), GEOMETRY)
    assert stability[:3].max() < stability[3]


def test_without_an_active_filter_there_is_no_stability() -> None:
    stability, mean = location_stability(np.zeros((3, 2, SIDE, SIDE)), planted(3)[1], GEOMETRY)
    assert np.isnan(stability).all()
    assert np.isnan(mean)


@pytest.mark.parametrize("kind", ["file", "tensor"])
def test_maps_may_lie_in_a_file_or_be_tensors(kind: str, arrays: Arrays, tmp_path: Path) -> None:
    maps, masks = arrays[0].astype(np.float16), arrays[1]
    np.save(tmp_path / "maps.npy", maps)
    given = torch.from_numpy(maps) if kind == "tensor" else np.load(tmp_path / "maps.npy", mmap_mode="r")
    for propose in (propose_by_peak, propose_by_iou):
        expected, found = (propose(kept, masks, NAMES, GEOMETRY) for kept in (maps.astype(np.float32), given))
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])
    assert location_stability(given, masks, GEOMETRY)[1] == location_stability(maps, masks, GEOMETRY)[1]


@pytest.mark.parametrize("propose", [propose_by_peak, propose_by_iou])
def test_arrays_that_do_not_belong_together_are_refused(propose: Callable, arrays: Arrays) -> None:
    maps, masks = arrays
    with pytest.raises(ValueError, match=r"of the same images.*\(11, 5, 6, 6\) and \(10, 36, 36\)"):
        propose(maps, masks[:10], NAMES, GEOMETRY)
    with pytest.raises(ValueError, match="holds part 2, but there are names for 2 parts"):
        propose(maps, masks, NAMES[:2], GEOMETRY)


# -- contributions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [False, True])
def test_a_part_gets_its_share_of_every_filter_and_the_background_the_rest(soft: bool) -> None:
    assignment = (2, 0, OTHER, 2, 2, UNSAID)
    matrix = np.random.default_rng(0).dirichlet(np.ones(4), 6)[:, :3] if soft else None
    parts = Parts(NAMES, assignment, "erased", None, {"n": 6}, matrix=matrix)
    assert parts.names_with_background == ("eye", "leg", "tail", "background")
    given = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for filters in (None, [5, 3, 1]):
        found = parts.contributions(given if filters is None else given[:, filters], filters)
        for image in range(4):
            expected = [0.0] * 4
            for i in range(6) if filters is None else filters:
                row = [float(assignment[i] == part) for part in range(3)] if matrix is None else matrix[i].tolist()
                for part, share in enumerate([*row, 1 - sum(row)]):
                    expected[part] += share * given[image, i].item()
            assert found[image].tolist() == pytest.approx(expected, abs=1e-12)


def test_shares_of_a_filter_add_up_to_one() -> None:
    matrix = np.array([[0.25, 0.5], [0.0, 0.0], [1 / 3, 2 / 3]])
    shares = Parts(("eye", "leg"), (1, OTHER, 1), "erased", None, {"n": 3}, matrix=matrix).shares
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares[:, 2].tolist() == [0.25, 1, 0]


def test_what_a_file_rounds_off_is_no_background(tmp_path: Path) -> None:
    thirds = np.array([[1 / 3, 2 / 3], [1 / 7, 6 / 7]])
    write_parts(tmp_path / "parts.yaml", Parts(("eye", "leg"), (1, 1), "erased", None, {"n": 2}, matrix=thirds))
    assert read_parts(tmp_path / "parts.yaml", performer={"n": 2}).shares[:, 2].tolist() == [0, 0]


# -- files -------------------------------------------------------------------------------------------------------------


SHARES = np.array([[0.75, 0.25, 0], [0.125, 0.5, 0.375], [0, 0, 0], [1 / 3, 0, 2 / 3]])


def proposal() -> Parts:
    scores = np.array([[3.25, 0, 0.5], [0, 2.125, 0], [0, 0, 1], [1.0004, 0, 4]])
    return Parts(NAMES, (0, 1, OTHER, 2), "peak", scores, PERFORMER, manual=(3,))


def test_names_are_read_as_they_were_written(tmp_path: Path) -> None:
    unscored = proposal()._replace(scores=None, assignment=(1, UNSAID, OTHER, UNSAID))
    for parts in (proposal(), proposal()._replace(source="erased", matrix=SHARES), unscored):
        path = tmp_path / "folder" / "parts.yaml"
        write_parts(path, parts)
        again = read_parts(path, performer=PERFORMER)
        assert again._replace(scores=None, matrix=None) == parts._replace(scores=None, matrix=None)
        for found, given in ((again.scores, parts.scores), (again.matrix, parts.matrix)):
            assert (found is None) == (given is None)
            np.testing.assert_allclose([] if found is None else found, [] if given is None else given, rtol=1e-5)
        write_parts(tmp_path / "again.yaml", again)
        assert (tmp_path / "again.yaml").read_text() == path.read_text()


def test_a_file_without_matrix_gives_each_filter_to_the_part_of_its_name(tmp_path: Path) -> None:
    parts = read_parts(
        written(tmp_path / "old.yaml", "  0: eye\n  1: none\n  2: tail\n  3: tail\n"), performer=PERFORMER
    )
    assert parts.shares.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_a_file_has_a_line_for_each_filter(tmp_path: Path) -> None:
    write_parts(tmp_path / "parts.yaml", proposal())
    lines = (tmp_path / "parts.yaml").read_text().splitlines()
    assert {"  0: eye", "  1: leg", "  2: none", "  3: tail"} < set(lines)
    assert "parts: [eye, leg, tail]" in lines


def written(path: Path, assignment: str = "  1: tail\n", **changes: object) -> Path:
    content = {"performer": "{category: dog, sha256: ab12, layer: conv6, n: 4}", "parts": "[eye, leg, tail]"} | changes
    head = "".join(f"{key}: {value}\n" for key, value in content.items())
    path.write_text(f"{head}assignment:\n{assignment}")
    return path


def test_a_person_names_some_filters_and_leaves_the_others(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "  0: none\n  1: tail\n  3: tail\n", parts="[tail, eye]")
    manual = read_parts(path, performer=PERFORMER)
    assert (manual.assignment, manual.source) == ((OTHER, 0, UNSAID, 0), "manual")
    merged = merge(proposal()._replace(manual=()), manual)
    assert merged.assignment == (OTHER, 2, OTHER, 2)
    assert merged.manual == (0, 1)  # filter 3 was called tail before
    assert (merged.source, merged.names) == ("peak", NAMES)


def test_a_persons_name_takes_the_whole_filter(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", "  0: eye\n  1: tail\n  3: none\n")
    merged = merge(proposal()._replace(matrix=SHARES, manual=()), read_parts(path, performer=PERFORMER))
    assert merged.manual == (1, 3)
    assert merged.matrix is not None
    assert merged.matrix.tolist() == [SHARES[0].tolist(), [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert SHARES[1, 1] == 0.5  # the proposal is as it was


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"performer": "{category: dog, sha256: cd34, layer: conv6, n: 4}"}, "its sha256 is 'cd34', not 'ab12'"),
        ({"performer": "{category: dog, sha256: ab12, layer: conv5, n: 4}"}, "its layer is 'conv5', not 'conv6'"),
        ({"performer": "{category: dog, sha256: ab12, layer: conv6, n: 5}"}, "its n is 5, not 4"),
        ({"performer": "{category: dog, layer: conv6, n: 4}"}, "its sha256 is None, not 'ab12'"),
        ({"performer": "dog"}, "copied from the names that were proposed.*performer is 'dog'"),
        ({"parts": "eye"}, "parts is 'eye'"),
        ({"assignment": "  - eye\n"}, r"`<filter>: <part or none>`; assignment is \['eye'\]"),
        ({"assignment": "  4: eye\n"}, "names the filter 4 under `assignment`, but the filters are 0 to 3"),
        ({"assignment": "  left: eye\n"}, "names the filter 'left'"),
        ({"assignment": "  2: wing\n"}, "gives filter 2 the part 'wing'; the parts are eye, leg, tail, or none"),
        ({"scores": "[[1, 2, 3]]"}, r"`scores` has the shape \(1, 3\) instead of \(4, 3\)"),
        ({"matrix": "[[1, 0, 0]]"}, r"`matrix` has the shape \(1, 3\) instead of \(4, 3\)"),
        ({"matrix": "5"}, "`matrix` is no table of numbers: 5. Delete `matrix`"),
        ({"matrix": "[[1, 0, .nan], [1, 0, 0], [1, 0, 0], [1, 0, 0]]"}, "`matrix` is no table of numbers"),
        ({"matrix": "[[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0.1, 0]]"}, "shares from 0 to 1 that add up to at most 1"),
        ({"matrix": "[[1, -1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]"}, "shares from 0 to 1"),
        ({"parts": "[eye, background]"}, "none of them 'none' or 'background'"),
        ({"parts": "[eye"}, "is not YAML"),
        ({"manual": "5"}, "`manual` must be a list of filters, got 5. Leave the line out"),
        ({"manual": "[9]"}, "names the filter 9 under `manual`"),
        ({"manual": "[[1]]"}, r"names the filter \[1\] under `manual`"),
        ({"source": "5"}, "`source` must be one of erased, peak, iou, manual, got 5"),
        ({"parts": "[eye, eye]"}, "`parts` must be names, each once"),
        ({"parts": "[eye, 5]"}, "`parts` must be names"),
        ({"parts": "[none, eye]"}, "none of them 'none'"),
        ({"parts": "[]"}, r"`parts` must be names, .* got \[\]"),
        ({"assignment": "  true: eye\n"}, "names the filter True"),
        ({"assignment": "  0: [eye]\n"}, r"gives filter 0 the part \['eye'\]"),
        ({"assignment": "  ? [0, 1]\n  : eye\n"}, "is not YAML|names the filter"),
        ({"scores": "[[1, 2], [3]]"}, "`scores` is no table of numbers"),
        ({"scores": "high"}, "`scores` is no table of numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_parts(written(tmp_path / "mine.yaml", **changes), performer=PERFORMER)


def test_an_empty_file_says_what_it_must_have(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(ValueError, match="must have `performer` and `parts`"):
        read_parts(tmp_path / "mine.yaml", performer=PERFORMER)


def test_names_are_merged_for_one_performer_and_its_parts_only() -> None:
    other = proposal()._replace(performer={**PERFORMER, "sha256": "cd34"})
    with pytest.raises(ValueError, match="different performers"):
        merge(proposal(), other)
    with pytest.raises(ValueError, match="Filter 2 is named 'wing', but the parts are eye, leg, tail, or none"):
        merge(proposal(), Parts(("wing",), (UNSAID, UNSAID, 0, UNSAID), "manual", None, PERFORMER))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"assignment": (0, 1)}, "each of 4 filters.*got 2 parts"),
        ({"scores": np.zeros((4, 2))}, r"scores \(4, 2\)"),
        ({"matrix": np.zeros((3, 3))}, r"matrix \(3, 3\)"),
    ],
)
def test_names_of_the_wrong_length_are_not_written(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_parts(tmp_path / "parts.yaml", proposal()._replace(**change))
    assert not list(tmp_path.iterdir())
