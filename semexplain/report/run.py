"""Pages about one explainer: of a run's test images, or of anyone's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from semexplain.explanation import Explanation
from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.measure import Measure, describe
from semexplain.report.figures.described import description_of
from semexplain.report.figures.style import display_name
from semexplain.report.page import Picture, cards, chosen_rows, names_shown, picture, render
from semexplain.report.paper import paper_numbers, paper_source
from semexplain.runs.cache import cache_for
from semexplain.runs.comparison import beside_controls
from semexplain.runs.folder import CACHE
from semexplain.runs.run import Run
from semexplain.runs.trained import TrainedExplainer
from semexplain.system.config import instantiate
from semexplain.system.files import write_text
from semexplain.system.places import require_writable
from semexplain.system.trouble import DamagedFileError

MOST = 200  # images in a page
REPORT = "report.html"
NOT_MEASURED: dict[str, Any] = {"verdict": None, "controls": (), "measures": (), "more": (), "paper": False}
Draws = Mapping[str, Callable[[Explanation], Figure]]


def run_report(run: Run, *, most: int = MOST) -> Path:
    """Write ``report.html`` into a finished run's folder: its measures beside the paper's, figures, and test images.

    All numbers are those that the run wrote; only the gallery's pictures and their Grad-CAM are made anew.

    Args:
        run: The run.
        most: Images in the gallery.

    Returns:
        The page's path.

    Raises:
        ConfigError: If the folder is no finished run, its data or performer are gone, or no page can be written.
    """
    require_writable("report", run.path / REPORT)
    config, explanation, metrics = run.config, run.explanation, run.judged_metrics
    figures = report_figures(run)
    control = f", control: {display_name(config.control._target_.rpartition('.')[2])}" if config.get("control") else ""
    reference, place = paper_numbers(config), run.path.absolute()
    first, more = in_order(list(metrics), measures_of([config.metrics]))
    return _write(
        run.path / REPORT,
        explanation,
        _gallery(run, most),
        figures,
        title=f"Why {display_name(explanation.target)}? {place.parent.name}/{place.name}",
        subtitle=f"{len(explanation)} test images, {len(explanation.concepts)} concepts, β = {config.beta:g}{control}",
        verdict=run.judgement,
        controls=beside_controls(metrics),
        measures=[(measure, metrics[name], reference.get(name)) for name, measure in first.items()],
        more=[(measure, metrics[name], None) for name, measure in more.items()],
        paper=any(name in reference for name in first),
        configuration=OmegaConf.to_yaml(config),
    )


def in_order(names: Sequence[str], measures: Sequence[Measure]) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Numbers that a page shows at once, in the order of their measures, and all others, each with its measure."""
    by_name = {name: describe(name, measures) for name in names}
    order = [
        name for measure in measures if measure.first for name in names if measure.named(name.removeprefix("test/"))
    ]
    return {name: by_name[name] for name in order}, {n: m for n, m in by_name.items() if n not in order}


def images_report(
    path: Path, explanation: Explanation, gallery: Explanation, about: str, skipped: Sequence[str], figures: Draws
) -> Path:
    """Write a page about images that are not of a data set.

    Args:
        path: The page.
        explanation: Of all images.
        gallery: Of the images that are shown singly, with pictures.
        about: One line, such as which explainer explained them.
        skipped: Names of images that could not be read.
        figures: What to draw, by name.
    """
    title = f"Why {display_name(explanation.target)}?"
    words = {"title": title, "subtitle": about, "configuration": about, "skipped": list(skipped)}
    return _write(path, explanation, gallery, figures, **words, **NOT_MEASURED)


def report_figures(run: Run) -> Draws:
    """What the run's configuration draws in pages, by name."""
    return instantiate(run.config.report_figures)


def _gallery(run: Run, most: int) -> Explanation:
    """The explanations that a page shows singly, with their pictures."""
    explanation = run.explanation[chosen_rows(run.explanation, most)]
    split = run.data.splits["test"]
    position = {name: number for number, name in enumerate(split.ids)}
    images = (split.read(position[name], run.data.framing) for name in explanation.ids)
    device = "cpu" if run.config.trainer.accelerator == "cpu" else "auto"  # the run's GPU may not be here
    explainer = TrainedExplainer.of(run, device)
    rows = np.array([position[name] for name in explanation.ids])
    return explainer.pictured(explanation, images, framed=True, feature_maps=_kept_maps(run, explainer, rows))


def _kept_maps(run: Run, explainer: TrainedExplainer, rows: np.ndarray) -> np.ndarray | None:
    """What the run's cache has of the feature maps of some test images, if it has them all."""
    if run.data.cache == "auto" and not (run.path / CACHE).exists():
        return None
    module = explainer.module
    cache = cache_for(run.config, run.data, module.device, module.performer, run.path / CACHE, module)
    try:
        maps = None if cache is None else cache.kept_maps(module.performer, "test")
        return None if maps is None else np.asarray(maps[rows])
    except DamagedFileError:  # a page does not need them
        return None


def _write(
    path: Path,
    explanation: Explanation,
    gallery: Explanation,
    figures: Draws,
    *,
    skipped: Sequence[str] = (),
    **words: Any,
) -> Path:
    items = cards(gallery)
    page = render(
        "run.html.j2",
        target=display_name(explanation.target),
        parts=bool(explanation.parts),
        absent=not explanation.parts and bool((explanation.uncentred < 0).any()),
        source=paper_source(),
        total=len(explanation),
        pictures=_pictures(figures, explanation, gallery),
        cards=items,
        names=names_shown(gallery),
        labelled=gallery.label is not None,
        skipped=skipped,
        data=[item.explanation for item in items],
        **words,
    )
    write_text(path, page)
    return path


def _pictures(figures: Draws, explanation: Explanation, gallery: Explanation) -> list[Picture]:
    pictures = []
    for draw in figures.values():
        description = description_of(draw)
        if description.parts in (None, bool(explanation.parts)):
            figure = draw(explanation if description.images is None else gallery[: description.images])
            pictures.append(picture(figure, description, gallery.ids[0]))
    return pictures
