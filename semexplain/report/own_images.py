"""Explain one's own images with the explainer of a run: a table and a page (``semexplain explain``)."""

import contextlib
import glob
import os
from pathlib import Path

from semexplain.data.framing import READABLE
from semexplain.explanation import printable
from semexplain.report.page import chosen_rows
from semexplain.report.run import MOST, REPORT, images_report, report_figures
from semexplain.runs.folder import EXPLANATIONS
from semexplain.runs.run import Run
from semexplain.runs.trained import Precision, TrainedExplainer
from semexplain.system.config import ConfigError
from semexplain.system.places import require_writable


def explain_files(
    run: Run,
    images: str,
    folder: Path,
    *,
    batch_size: int = 32,
    most: int = MOST,
    device: str = "auto",
    precision: Precision = "float32",
) -> Path:
    """Write ``explanations.parquet`` and ``report.html`` about image files.

    A file that cannot be read is reported and left out, the rest is done.

    Args:
        run: An explainer's run.
        images: A file, a folder (all images in it and below), or a pattern such as ``'photos/*.jpg'``.
        folder: Where to write.
        batch_size: Images at a time.
        most: Images in the page's gallery.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        precision: ``float32`` or ``bfloat16``, see :class:`~semexplain.runs.trained.TrainedExplainer`.

    Returns:
        The page's path.

    Raises:
        ConfigError: If there are no such images, none can be read, nothing can be written there, or the run cannot be
            rebuilt.
    """
    paths = {printable(str(path)): path for path in image_files(images)}
    figures = report_figures(run)
    require_writable("out", folder / EXPLANATIONS, folder / REPORT)
    explainer = TrainedExplainer.of(run, device, precision)
    try:
        explanation = explainer.explain(paths.values(), batch_size=batch_size)
    except ValueError as error:
        raise ConfigError(f"images: {error}") from error
    failures = sorted(set(paths) - set(explanation.ids))
    explanation.save(folder / EXPLANATIONS)
    selection = explanation[chosen_rows(explanation, most)]
    gallery = explainer.pictured(selection, [paths[name] for name in selection.ids], batch_size=batch_size)
    about = printable(f"{len(explanation)} images, explained by {run.path}")
    return images_report(folder / REPORT, explanation, gallery, about, failures, figures)


def image_files(images: str) -> list[Path]:
    """The image files that a file, folder or pattern stands for, sorted.

    In a folder those whose ending is that of an image, links and pipes among them: reading says what is wrong with
    them. Folders that a pattern begins with, and that exist, are taken as they are called, as ``a[1]`` in
    ``a[1]/*.jpg``.

    Raises:
        ConfigError: If there are none.
    """
    path = Path(images)
    with contextlib.suppress(RuntimeError):  # of a user that there is not
        path = path.expanduser()
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.suffix.lower() in READABLE and not file.is_dir()]
    elif os.path.lexists(path):
        files = [path]
    else:
        files = [file for file in map(Path, glob.glob(_pattern(path), recursive=True)) if not file.is_dir()]
        deepest_first = sorted(files, key=lambda file: len(file.parts), reverse=True)
        files = list({os.path.realpath(file): file for file in deepest_first}.values())  # links can go in circles
    if not files:
        raise ConfigError(
            f"images: there is no image file in {printable(images)!r}; give a file, a folder, or a quoted pattern such "
            "as 'photos/*.jpg'."
        )
    return sorted(files)


def _pattern(path: Path) -> str:
    """The pattern, in which the folders that exist are no patterns."""
    base, rest = Path(path.anchor), list(path.parts[1:] if path.anchor else path.parts)
    while rest and (base / rest[0]).is_dir():
        base /= rest.pop(0)
    return str(Path(glob.escape(str(base)), *rest))
