"""Runs that differ in nothing but the seed are one cell; any other difference is a setting of its own."""

import json
import statistics
from pathlib import Path

import pytest

from semexplain.report.tables.groups import Spread, grouped
from semexplain.report.tables.layout import setting_names
from semexplain.report.tables.quantities import ACCURACY, AVERAGE, ENTROPY, spread_of
from semexplain.runs.run import Run
from tests.report.tables.finished import finished, numbers


def test_seeds_are_averaged_and_their_spread_is_that_of_a_sample(tmp_path: Path):
    for seed, entropy in enumerate((3.0, 3.1, 3.5)):
        finished(tmp_path, "Male", 0.2, seed, metrics=numbers(entropy))
    (group,), left = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert not left
    assert (group.explainer, group.objects, group.images) == ("ours", 50, None)
    cell = spread_of([group], ENTROPY[0], "male")
    assert cell == pytest.approx((3.2, statistics.stdev([3.0, 3.1, 3.5]), 3))


def test_places_and_pictures_make_no_difference_and_options_do(tmp_path: Path):
    finished(tmp_path, "Male", 0.2, 0, options={"figures": {"bars": None}, "paths": {"cache": "/a"}})
    finished(tmp_path, "Male", 0.2, 1, options={"figures": {}, "paths": {"cache": "/b"}})
    finished(tmp_path, "Male", 0.2, 0, options={"explainer": {"depth": 18}})
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert [len(group.runs) for group in groups] == [2, 1]
    assert [group.setting for group in groups] == [(("explainer.depth", "152"),), (("explainer.depth", "18"),)]
    assert list(setting_names(groups).values()) == [" A", " B"]


def test_options_of_the_module_make_a_difference_and_its_repetitions_of_groups_do_not(tmp_path: Path):
    for scale, start in ((None, "none"), ("auto", "none"), ("auto", "one that is told twice")):
        finished(tmp_path, "Male", 0.2, options={"module": {"concept_scale": scale, "start": start}})
    groups, left = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert [dict(group.setting) for group in groups] == [{"module.concept_scale": str(s)} for s in (None, "auto")]
    assert len(left) == 1  # the same run again


def test_an_option_in_which_categories_differ_keeps_them_out_of_one_average(tmp_path: Path):
    finished(tmp_path, "dog", 10, network="vgg16")
    finished(tmp_path, "cat", 10, network="vgg16", options={"explainer": {"depth": 18}})
    finished(tmp_path, "cat", 10, network="alexnet")  # other networks may well be trained otherwise
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert len({group.setting for group in groups}) == 2


def test_networks_may_differ_in_options(tmp_path: Path):
    finished(tmp_path, "cat", 10, network="vgg16", options={"size": 224})
    finished(tmp_path, "cat", 10, network="alexnet", options={"size": 227})
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert [group.setting for group in groups] == [(), ()]


def test_another_performer_of_the_same_options_is_another_setting(tmp_path: Path):
    finished(tmp_path, "Male", 0.2, 0, performer="a")
    finished(tmp_path, "Male", 0.2, 1, performer="b")
    finished(tmp_path, "Young", 0.2, 0, performer="c")  # every target has its own
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    numbers_ = [dict(group.setting)["digest of performer"] for group in groups]
    assert numbers_ == ["no. 1", "no. 2", "no. 1"]


def test_of_a_run_that_was_repeated_the_last_counts(tmp_path: Path):
    first = finished(tmp_path, "Male", 0.2, metrics=numbers(1.0))
    second = finished(tmp_path, "Male", 0.2, metrics=numbers(2.0))
    (group,), left = grouped([Run(first), Run(second)])
    assert group.values("test/contribution_entropy") == [2.0]
    assert left == [f"{first}: the same run again as {second}, which counts."]


def test_a_target_that_the_paper_does_not_have_is_left_out(tmp_path: Path):
    run = finished(tmp_path, "Smiling", 0.2)
    assert grouped([Run(run)]) == ([], [f"{run}: the paper has no numbers for attributes, smiling."])


def test_another_network_is_left_out(tmp_path: Path):
    run = finished(tmp_path, "Male", 0.2, options={"performer": {"_target_": "mine.Network", "target": "Male"}})
    assert grouped([Run(run)]) == ([], [f"{run}: the paper has no numbers for Network, male."])


def test_choices_of_concepts_and_other_betas_have_names_of_their_own(tmp_path: Path):
    finished(tmp_path, "Male", 0.2, concepts="random 5")
    finished(tmp_path, "Male", 0, concepts="named Bald Bangs")
    finished(tmp_path, "Male", 3)
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert [group.explainer for group in groups] == ["ours, random 5", "baseline, named Bald Bangs", "β = 3"]
    assert len({group.setting for group in groups}) == 1


def test_an_average_is_over_the_targets_that_are_there_and_spreads_over_common_seeds(tmp_path: Path):
    entropies = {"Male": (3.0, 3.2), "Young": (2.0, 2.6)}
    for target, values in entropies.items():
        for seed, value in enumerate(values):
            finished(tmp_path, target, 0.2, seed, metrics=numbers(value))
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    cell = spread_of(groups, ENTROPY[0], AVERAGE)
    assert cell == pytest.approx((2.7, statistics.stdev([(3.0 + 2.0) / 2, (3.2 + 2.6) / 2]), 2))
    groups = [*groups[:1], groups[1]._replace(runs=groups[1].runs[:1])]
    assert spread_of(groups, ENTROPY[0], AVERAGE) == pytest.approx(((3.1 + 2.0) / 2, None, 2), nan_ok=True)


def test_what_a_performer_does_is_one_number_however_many_explainers_it_has(tmp_path: Path):
    for seed in range(3):
        finished(tmp_path, "Male", 0.2, seed)
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    assert spread_of(groups, ACCURACY[0], "male") == pytest.approx((90, None, 1))


def test_a_run_that_noted_no_objects_has_none(tmp_path: Path):
    run = finished(tmp_path, "Male", 0.2)
    (run / "performer.json").write_text(json.dumps({"sha256": "f", "data_sha256": "d"}))
    (group,), _ = grouped([Run(run)])
    assert group.objects is None


def test_nothing_has_no_mean():
    assert Spread.of([]) is None
