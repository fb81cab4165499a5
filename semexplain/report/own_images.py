"""Explain one's own images with the explainer of a run: a table and a page (``semexplain explain``)."""

import glob
from pathlib import Path

from PIL import Image

from semexplain.report.page import chosen_rows
from semexplain.report.run import MOST, REPORT, images_report, report_figures
from semexplain.runs.folder import EXPLANATIONS
from semexplain.runs.run import Run
from semexplain.runs.trained import Precision, TrainedExplainer
from semexplain.system.config import ConfigError


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
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``float32`` or ``bfloat16``, see :class:`~semexplain.runs.trained.TrainedExplainer`.

    Returns:
        The page's path.

    Raises:
        ConfigError: If there are no such images, none can be read, or the run cannot be rebuilt.
    """
    paths = image_files(images)
    explainer = TrainedExplainer.of(run, device, precision)
    try:
        explanation = explainer.explain(paths, batch_size=batch_size)
    except ValueError as error:
        raise ConfigError(f"images: {error}") from error
    failures = sorted({str(path) for path in paths} - set(explanation.ids))
    explanation.save(folder / EXPLANATIONS)
    selection = explanation[chosen_rows(explanation, most)]
    gallery = explainer.pictured(selection, selection.ids, batch_size=batch_size)
    about = f"{len(explanation)} images, explained by {run.path}"
    return images_report(folder / REPORT, explanation, gallery, about, failures, report_figures(run))


def image_files(images: str) -> list[Path]:
    """The image files that a file, folder or pattern stands for, sorted.

    Raises:
        ConfigError: If there are none.
    """
    path = Path(images).expanduser()
    if path.is_dir():
        endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        files = [file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file()]
    elif path.is_file():
        files = [path]
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    if not files:
        raise ConfigError(
            f"images: there is no image file in {images!r}; give a file, a folder, or a quoted pattern such as "
            "'photos/*.jpg'."
        )
    return sorted(files)
