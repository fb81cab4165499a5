"""Checkpoints that are whole: written beside their place, with a digest of their weights, and checked when read."""

import io
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from semexplain.performers.base import weights_digest
from semexplain.system.files import keep_aside, whole_file
from semexplain.system.processes import is_first
from semexplain.system.trouble import DamagedFileError

log = logging.getLogger(__name__)
DIGEST = "weights_sha256"
LAST = "last.ckpt"  # of which the one before is kept


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints of a trainer so that at every instant there is a whole one, wherever TMPDIR is.

    A checkpoint carries a digest of its weights. ``last.ckpt`` leaves the one that it replaces as
    ``last.previous.ckpt``, in case the disk damages it afterwards.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint in place of the one before, which stays where it is if anything fails."""
        path, content = Path(path), io.BytesIO()
        torch.save({**checkpoint, DIGEST: weights_digest(checkpoint["state_dict"])}, content)
        with whole_file(path) as partial:
            partial.write_bytes(content.getbuffer())
            if path.name == LAST and path.exists():
                _keep(path, previous(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, if it is whole; callbacks find the others where it lies now."""
        checkpoint, folder = read_checkpoint(Path(path), map_location or "cpu"), os.path.realpath(Path(path).parent)
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_k_models" in state:
                _relocate(state, folder)
        return checkpoint


def previous(path: Path) -> Path:
    """Where the checkpoint before is kept.

    Example:
        >>> previous(Path("checkpoints/last.ckpt")).name
        'last.previous.ckpt'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def read_checkpoint(path: Path, device: torch.device | str | Callable = "cpu") -> dict[str, Any]:
    """A checkpoint, which can hold nothing but tensors and plain values.

    Args:
        path: The file.
        device: Where its tensors go.

    Raises:
        DamagedFileError: If it is cut or changed: by the checksums of its records and the digest of its weights.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if (record := file.testzip()) is not None:
                raise zipfile.BadZipFile(f"its record {record} has another checksum")
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        digest = weights_digest(checkpoint["state_dict"])
    except OSError:
        raise
    except Exception as error:  # of a file with any content
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(".")
        raise DamagedFileError(f"The checkpoint {path} is damaged: {reason}.") from error
    if checkpoint.pop(DIGEST, digest) != digest:  # earlier versions wrote none
        raise DamagedFileError(f"The checkpoint {path} is damaged: its weights are not those that it was written with.")
    return checkpoint


def to_resume(folder: Path, *, anew: bool = False) -> Path | None:
    """The newest whole checkpoint of a training that was interrupted; one that is damaged is named and put aside.

    Args:
        folder: With ``last.ckpt``, the one before, and ``best.ckpt``.
        anew: Where none can be used, put all aside, so that the training begins anew.

    Returns:
        None where the training begins with its first epoch.

    Raises:
        DamagedFileError: If none can be used. Nothing has been changed then.
    """
    last, best = folder / LAST, folder / "best.ckpt"
    if not last.exists() and not previous(last).exists():
        return None
    problems = {path: problem for path in (last, previous(last), best) if (problem := _problem(path))}
    usable = [path for path in (last, previous(last)) if path not in problems]
    if usable and best not in problems:
        if usable[0] != last:
            log.warning("%s The run goes on from the one before, %s.", problems[last], usable[0])
            if is_first() and last.exists():
                keep_aside(last)
        return usable[0]
    told = " ".join(problems.values())
    if not anew:
        raise DamagedFileError(
            f"{told} The run cannot go on from there. Put back a copy, or delete {folder} to begin with the first "
            "epoch again."
        )
    log.warning("%s The training begins anew.", told)
    for path in (last, previous(last), best):
        keep_aside(path)
    return None


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, in a sentence."""
    try:
        read_checkpoint(path)
    except FileNotFoundError:
        return f"There is no checkpoint {path}."
    except DamagedFileError as error:
        return str(error)
    return None


def _relocate(state: dict[str, Any], folder: str) -> None:
    """Let a checkpoint callback whose folder was moved know its best epoch: it would take the next one for better."""
    state["dirpath"] = folder
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = _inside(folder, state[key])
    state["best_k_models"] = {_inside(folder, path): value for path, value in state["best_k_models"].items()}


def _inside(folder: str, path: str) -> str:
    return os.path.join(folder, os.path.basename(path)) if path else path


def _keep(path: Path, copy: Path) -> None:
    """Let a file be found under a second name, while it stays where it is."""
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)
    except OSError:  # a file system without links
        os.replace(path, copy)
