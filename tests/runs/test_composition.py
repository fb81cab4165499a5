"""Anyone's network composes with every method, control, start, explainer, prior, metric, logger, rival, sweep."""

from pathlib import Path

import pytest
from omegaconf import open_dict
from support import configured

from semexplain.runs.options import check
from semexplain.system.config import check_group

CONF = Path(__file__).parents[2] / "conf"
CODE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    body = nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4, 3))
"""
GROUPS = ["method", "control", "start", "explainer", "optimizer", "scheduler", "trainer", "sweep"]
LISTS = ["logger", "figures", "metrics"]  # of which several are chosen at once
OF_ONE_KIND = {"filter_jacobian": "filters", "feature_ratio": "outputs", "cross_entropy": "filters", "l2": "outputs"}
COUNTED = {"concept_count", "figure8"}  # sweeps over how many concepts explain, each job with its own number
SIGNED = ["prior.clamp=false"]  # as l2 needs it
OF_PARTS = {
    "parts_pie",
    "part_error",
    "part_ranks",
}  # for filters that are named by parts, as `data.parts` makes possible


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("nets")
    (place / "my_nets.py").write_text(CODE)
    network = [f"network.model={place}/my_nets.py:build", "network.output=1", "network.layer='1'"]
    return ["data=pictures", f"data.root={place}", "performer=network", *network, "network.transform={size: [32, 32]}"]


@pytest.mark.parametrize("case", ["filters", "outputs"])
@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in choices(group)])
def test_a_choice_of_a_group(group: str, name: str, case: str, words: list[str]):
    further = ["concepts.count=2"] if name in COUNTED else []
    further += (
        ["explainer.output=identity", "prior_loss=l2", *SIGNED] if group == "start" and case == "filters" else []
    )  # corrected in both directions
    check(configured(*words, f"case={case}", f"{group}={name}", *further))


@pytest.mark.parametrize("case", ["filters", "outputs"])
@pytest.mark.parametrize("group", LISTS)
def test_all_of_a_list(group: str, case: str, words: list[str]):
    check(
        configured(
            *words, f"case={case}", f"{group}=[{','.join(name for name in choices(group) if name not in OF_PARTS)}]"
        )
    )


@pytest.mark.parametrize("group", ["prior", "prior_loss"])
@pytest.mark.parametrize("name", OF_ONE_KIND)
def test_priors_of_a_kind(group: str, name: str, words: list[str]):
    if name in choices(group):
        check(configured(*words, f"case={OF_ONE_KIND[name]}", f"{group}={name}"))


@pytest.mark.parametrize("name", choices("rival"))
def test_a_rival(name: str, words: list[str]):
    config = configured(*words, "case=filters")
    with open_dict(config):
        config.rival = configured(f"rival={name}", name="evaluate").rival
    check_group(config, "rival")
