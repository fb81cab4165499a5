"""Whatever stands in a configuration or on a command line: it is taken, or refused in words."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support import configured

from semexplain.__main__ import EXPLAIN, main
from semexplain.runs.options import check, renamed
from semexplain.runs.sweeps import job_name
from semexplain.system.config import ConfigError
from semexplain.system.quiet import hush

MANY = settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
WORDS = ["", "auto", "1", "nan", "${beta}", "${nowhere}", "${", "???", "a.b", "torch.optim.Adam", "kind", "int", "../x"]
KEYS = ["_target_", "_partial_", "_args_", "_convert_", "weights", "hed", "0"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=6)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


def places(node: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


@pytest.fixture(scope="module")
def trees() -> list[dict[str, Any]]:
    hush()
    experiments = ("celeba_attractive", "pascal_part_dog", "known_faces")
    return [OmegaConf.to_container(configured(f"experiment={name}", "scale=smoke")) for name in experiments]


def changed(tree: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    """A configuration with one to three options that are others, more or fewer."""
    tree, paths = copy.deepcopy(tree), list(places(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        *above, key = data.draw(st.sampled_from(paths))
        node: Any = tree
        for name in above:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict):
            match data.draw(st.sampled_from(["set", "set", "set", "delete", "add"])):
                case "set":
                    node[key] = data.draw(VALUES)
                case "delete":
                    node.pop(key, None)
                case _:
                    node[data.draw(st.sampled_from(KEYS) | st.text(max_size=4))] = data.draw(VALUES)
    return tree


@settings(MANY, max_examples=50)
@given(data=st.data())
def test_a_configuration_passes_or_is_refused(trees: list[dict[str, Any]], data: st.DataObject):
    tree = changed(data.draw(st.sampled_from(trees)), data)
    try:
        config = OmegaConf.create(tree)
    except Exception:  # what OmegaConf cannot hold cannot be composed either
        return
    assert job_name(config)
    try:
        check(config)
    except ConfigError as error:
        assert "nothing was started" in str(error)  # noqa: PT017


WORD = st.text(max_size=8) | st.builds(
    lambda name, value: f"{name}={value}",
    st.sampled_from([*EXPLAIN, "runs"]),
    st.sampled_from(["", "nowhere", "-1", "0"]),
)


@MANY
@given(words=st.lists(WORD, min_size=1, max_size=5))
def test_words_of_explain_are_refused(words: list[str]):
    """None of these names a run that is there."""
    assert main(["explain", "--", *words]) == 2


@MANY
@given(words=st.lists(st.text(max_size=12), max_size=4))
def test_any_word_may_be_an_old_one_or_not(words: list[str]):
    assert renamed(words) is None or all(word for word in words)
