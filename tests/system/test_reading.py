"""Files of a run folder are data: bounded, regular, plain, and named where they are not."""

import os
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from semexplain.system.reading import MOST_BYTES, read_json, read_mapping, read_text, read_yaml, require_file
from semexplain.system.trouble import DamagedFileError

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, r"is not YAML of plain values: it has anchors \(`&name`, `\*name`\), which nothing here writes"),
        ("a: " + "[" * 100, "it has more than 100,000 values, or more than 64 inside one another"),
        ("[" * 10**6, "it has more than 100,000 values, or more than 64 inside one another"),
        ("a: [" + "1," * 200_000 + "1]", "it has more than 100,000 values"),
        ("a: !!python/object/apply:os.system [id]", "it has the tag tag:yaml.org,2002:python/object/apply:os.system"),
        ("a: 1\na: 2", "the key 'a' is there twice"),
        ("? [1]\n: 2", "found unhashable key"),
        ("a: " + "9" * 5000, "integer string conversion"),
        ("a: [", "is not YAML of plain values: while parsing"),
        (b"\xff\xfe", r"is not UTF-8 text \(invalid start byte at byte 0\)"),
        ("x" * (MOST_BYTES + 1), "has more than 4 MiB, which no such file has"),
    ],
)
def test_what_is_not_plain_is_named(content: str | bytes, message: str, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DamagedFileError, match=message) as error:
        read_yaml(path)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith("Restore it from a copy, or do without what needs it.")


@pytest.mark.parametrize("content", ["- 1", "5", "1: 2", ""])
def test_a_configuration_is_a_mapping(content: str, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(DamagedFileError, match="must hold lines `<option>: <value>`, it holds"):
        read_mapping(tmp_path / "config.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON: Expecting value"),
        ("{", "is not JSON: Expecting property name"),
        ("[" * 10**5, "is not JSON: maximum recursion depth"),
        ("[1]", "must hold a JSON object, it holds list"),
    ],
)
def test_what_is_no_json_is_named(content: str, message: str, tmp_path: Path):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(DamagedFileError, match=f"metrics.json {message}"):
        read_json(tmp_path / "metrics.json")


def test_neither_pipes_nor_devices_nor_folders_are_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (Path("/dev/zero"), "a device")):
        for read in (read_text, read_json, read_yaml, require_file):
            with pytest.raises(DamagedFileError, match=f"is {kind}, where a file was expected"):
                read(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing")


def test_plain_values_are_read_as_omegaconf_reads_them(tmp_path: Path):
    values = {"a": [1e-4, 1.0, 3, None, True, "2026-01-01", "010", "1e5", "on", "${b}"], "b": {"c": "", "d": []}}
    text = OmegaConf.to_yaml(OmegaConf.create(values)) + "e: 1e-3\nf: 2026-01-01\ng: 0x1f\nh: .nan\n"
    (tmp_path / "config.yaml").write_text(text)
    assert str(read_mapping(tmp_path / "config.yaml")) == str(
        OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))
    )
    (tmp_path / "parts.yaml").write_text(yaml.safe_dump({**values, "a": [0.125, "nose", None]}))
    assert read_yaml(tmp_path / "parts.yaml") == {**values, "a": [0.125, "nose", None]}
