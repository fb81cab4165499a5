"""Paths in words of a command line: Hydra reads exactly the path, whatever signs are in it."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from semexplain.system.words import override, shown

SIGNS = "\\'\"${}=,:;#()[] \n\t~@%?*.-+1ae"
ODD = ["it's here", "a b", "a=b", "a,b", "{a}", "a{", "$HOME", "${HOME}", "a\\${b}", "a\\", "a\\'", "#a", "é猫", "a\nb"]
VALUES = ["null", "true", "1", "1e3", "inf", "nan", "[a]", "(a)", "~a", "", " a ", "choice(a)"]


def read(word: str) -> object:
    """What the option has become when a program asks for it."""
    parsed = OverridesParser.create().parse_override(word)
    return OmegaConf.create({parsed.key_or_group: parsed.value()})[parsed.key_or_group]


@pytest.mark.parametrize("text", [*ODD, *VALUES])
def test_hydra_reads_the_text(text: str):
    assert read(override("resume", text)) == text


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(st.sampled_from(SIGNS) | st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_hydra_reads_any_text(text: str):
    if text != "???":  # a value that is missing
        assert read(override("resume", text)) == text


@pytest.mark.parametrize("text", ODD)
def test_a_hint_can_be_copied_into_a_shell(text: str):
    _, script, word = shlex.split(shown("train.py", {"resume": text}))
    assert (script, read(word)) == ("train.py", text)
