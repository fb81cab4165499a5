"""Disks that are full or can only be read, for tests on machines where they can be made."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tiny_disk(place: Path, kilobytes: int = 64) -> Iterator[Path]:
    """A folder on a file system of its own that is soon full."""
    place.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[Path]:
    """A folder that can only be read, for root as well."""
    _mount("--bind", str(place), str(place))
    try:
        _mount("-o", "remount,bind,ro", str(place))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*words: str) -> None:
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount`")
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")


def full_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the disk be full when a file is brought to it for the ``count``-th time, and from then on."""
    calls = iter(range(1, 10**9))

    def fsync(file: int) -> None:
        if next(calls) >= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
