"""Folders of evaluations: one writer each, and nothing left of those that were cut off."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from semexplain.runs.folder import EVALUATIONS, LOCK, METRICS, alone_in
from semexplain.system.processes import is_first

log = logging.getLogger(__name__)


@contextlib.contextmanager
def evaluation_in(folder: Path) -> Iterator[None]:
    """Hold the folder of an evaluation, and remove what killed evaluations of the same run have left beside it.

    Raises:
        FolderInUseError: If another process writes into it.
    """
    if is_first() and folder.parent.name == EVALUATIONS:
        for other in sorted(folder.parent.iterdir()):
            if other != folder:
                _remove_if_cut_off(other)
    with alone_in(folder):
        yield


def _remove_if_cut_off(folder: Path) -> None:
    """Remove an evaluation without numbers that nobody is at; what has no lock may just be beginning."""
    if (folder / METRICS).exists() or not (folder / LOCK).is_file():
        return
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            shutil.rmtree(folder)
        log.info("Removed the evaluation %s, which was cut off.", folder)
    except (Timeout, OSError):  # in progress, or not ours to remove
        return
