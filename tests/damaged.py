"""Every way to damage a file of a finished run, and every command that reads such a folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL import Image
from support import configured

from evaluate import evaluate
from semexplain.__main__ import main
from semexplain.system.trouble import told
from train import train

WHOLE = "whole.yaml"  # the configuration before the damage, beside the runs
DAMAGED_FILES = [
    "config.yaml",
    "metrics.json",
    "performer.json",
    "validation.json",
    "explanations.parquet",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "metrics.csv",
    "evaluations/1/metrics.json",
]


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b"") and None,
    "half": _half,
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)) and None,
    "folder": _folder,
    "doubled": lambda path: path.write_bytes(path.read_bytes() * 2) and None,
    "list": lambda path: path.write_text("[]") and None,
    "number": lambda path: path.write_text("5") and None,
    "nan": lambda path: path.write_text("NaN") and None,
    "object": lambda path: path.write_text("{}") and None,
    "other keys": lambda path: path.write_text('{"a": {"b": []}}') and None,
    "other types": lambda path: (
        path.write_text('{"test/relative_deviation": "x", "performer": 5, "path": [], "beta": {}}') and None
    ),
}


def _status(act: Callable[[], object]) -> int:
    """Exit status of a command that is run in this process."""
    try:
        with told():
            act()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _explain(run: Path, out: Path) -> int:
    out.mkdir(parents=True)
    Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)).save(out / "a.png")
    return main(["explain", f"run={run}", f"images={out / 'a.png'}", f"out={out}", "device=cpu"])


def _resume(run: Path) -> None:
    """Go on with the run as if it had been interrupted before its end."""
    shutil.rmtree(run / "metrics.json", ignore_errors=True)
    (run / "metrics.json").unlink(missing_ok=True)
    train(OmegaConf.merge(OmegaConf.load(run.parents[1] / WHOLE), {"resume": str(run)}), run)


VERBS: dict[str, Callable[[Path, Path], int]] = {
    "compare": lambda run, out: main(["compare", str(run.parent)]),
    "report": lambda run, out: main(["report", str(run.parent), "--most", "2", "--out", str(out)]),
    "tables": lambda run, out: main(["tables", str(run.parent), "--out", str(out)]),
    "explain": _explain,
    "parts": lambda run, out: main(["parts", str(run), "--out", str(out)]),
    "evaluate": lambda run, out: _status(
        lambda: evaluate(configured(f"run={run}", "controls=[]", "metrics=[]", "images=8", name="evaluate"), out)
    ),
    "resume": lambda run, out: _status(lambda: _resume(run)),
}


def damaged_run(run: Path, place: Path, name: str, damage: str) -> Path:
    """A copy of a finished run, one of whose files is damaged."""
    copy = Path(shutil.copytree(run, place / "runs" / "damaged"))
    shutil.copy(run / "config.yaml", place / WHOLE)
    if name.startswith("evaluations/"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / "metrics.json", copy / name)
    DAMAGES[damage](copy / name)
    return copy
