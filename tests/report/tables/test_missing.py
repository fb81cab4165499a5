"""Commands for runs that are not there yet: each of them once, none that is there."""

import shlex
from itertools import product
from pathlib import Path

import pytest
from support import configured

from semexplain.report.tables.groups import grouped
from semexplain.report.tables.missing import boxes, missing
from semexplain.runs.run import Run
from tests.report.tables.finished import ANIMALS, FACES, finished


def commands(root: Path, seeds: int = 1, everything: bool = False) -> dict[str, list[str]]:
    return dict(missing(grouped(map(Run, sorted(root.iterdir())))[0], seeds, everything))


@pytest.mark.parametrize("axes", [("ab", "12"), ("abc", "1"), ("ab", "12", "xyz")])
def test_boxes_cover_every_cell_once(axes: tuple[str, ...]):
    every = list(product(*axes))
    assert len(boxes(every)) == 1
    holes = every[::3] + every[1::3]
    assert sorted(cell for box in boxes(holes) for cell in product(*box)) == sorted(holes)


def test_what_is_missing_is_one_command_for_as_many_runs_as_possible(tmp_path: Path):
    for target in FACES[:3]:
        for beta in (0, 0.2):
            finished(tmp_path, target, beta, overrides=["experiment=celeba_male", f"beta={beta}", "data.limit=900"])
    assert commands(tmp_path) == {
        "Experiment 2: 2 of 8 runs are missing": [
            "python train.py -m experiment=celeba_young beta=0,0.2 seed=0 data.limit=900"
        ]
    }
    found = commands(tmp_path, seeds=3)["Experiment 2: 18 of 24 runs are missing"]
    assert found == [
        "python train.py -m experiment=celeba_attractive,celeba_heavy_makeup,celeba_male beta=0,0.2 seed=1,2 "
        "data.limit=900",
        "python train.py -m experiment=celeba_young beta=0,0.2 seed=0,1,2 data.limit=900",
    ]


def test_a_single_run_is_no_sweep(tmp_path: Path):
    for target, beta in list(product(FACES, (0, 0.2)))[:-1]:
        finished(tmp_path, target, beta)
    assert list(commands(tmp_path).values()) == [["python train.py experiment=celeba_young beta=0.2 seed=0"]]


def test_complete_tables_miss_nothing(tmp_path: Path):
    for target, beta in product(FACES, (0, 0.2)):
        finished(tmp_path, target, beta)
    assert commands(tmp_path) == {}
    assert [title.split(":")[0] for title in commands(tmp_path, everything=True)] == ["Experiment 1", "Figure 8"]


def test_every_network_has_its_runs(tmp_path: Path):
    finished(tmp_path, "dog", 10, network="vgg_m", overrides=["performer.target=dog", "scale=laptop", "hydra.x=1"])
    ((title, found),) = commands(tmp_path).items()
    assert title == "Experiment 1: 47 of 48 runs are missing"
    wanted = {(network, animal, beta) for network, animal, beta in each(found)}
    assert len(wanted) == len(list(each(found))) == 47
    assert ("vgg_m", "dog", "10") not in wanted
    assert all(command.endswith(" seed=0 scale=laptop") for command in found)


def test_a_networks_weights_are_its_own(tmp_path: Path):
    given = ["performer.weights=m.mat", "data.limit=9"]
    finished(tmp_path, "dog", 10, network="vgg_m", overrides=given)
    (found,) = commands(tmp_path).values()
    for command in found:
        assert ("performer.weights=m.mat" in command) == ("interpretable_vgg_m" in command)
        assert command.endswith("data.limit=9")
        assert not {"interpretable_vgg_m", "interpretable_vgg_s"} <= set(command.replace("=", ",").split(","))


def each(commands_: list[str]) -> list[tuple[str, str, str]]:
    """Runs that commands make, as Hydra would list them."""
    found = []
    for command in commands_:
        words = dict(word.split("=") for word in shlex.split(command) if "=" in word)
        axes = [words[name].split(",") for name in ("performer", "experiment", "beta")]
        found += [(p.removeprefix("interpretable_"), e.removeprefix("pascal_part_"), b) for p, e, b in product(*axes)]
    return found


def test_figure_8_counts_all_concepts_as_39_at_random(tmp_path: Path):
    finished(tmp_path, "Male", 0.2)
    finished(tmp_path, "Male", 0.2, concepts="random 5")
    found = commands(tmp_path)["Figure 8: 30 of 32 runs are missing"]
    male = next(command for command in found if "celeba_male" in command)
    assert "concepts=random concepts.count=10,15,20,25,30,35 beta=0.2 seed=0" in male


def test_each_setting_misses_its_own_and_says_what_makes_it(tmp_path: Path):
    for depth in (18, 152):
        finished(tmp_path, "Male", 0.2, options={"explainer": {"depth": depth}})
    found = commands(tmp_path)
    assert list(found) == [f"Experiment 2 {letter}: 7 of 8 runs are missing" for letter in "AB"]
    assert all(command.endswith("explainer.depth=18") for command in found["Experiment 2 A: 7 of 8 runs are missing"])


@pytest.mark.parametrize("target", ["celeba_" + face.lower() for face in FACES] + [f"pascal_part_{a}" for a in ANIMALS])
def test_the_experiments_of_the_commands_exist(target: str):
    assert (
        configured(f"experiment={target}").performer.target.lower() == target.split("_", 2 - ("celeba" in target))[-1]
    )
