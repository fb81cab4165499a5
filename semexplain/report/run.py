"""Pages about one explainer: of a run's test images, or of anyone's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from semexplain.config import ConfigError
from semexplain.data.module import ready_data
from semexplain.explanation import Explanation
from semexplain.metrics.catalogue import measures_of
from semexplain.metrics.measure import Measure, describe
from semexplain.metrics.verdict import Verdict, verdict
from semexplain.report.figures.bars import bars
from semexplain.report.figures.distribution import distribution
from semexplain.report.figures.parts_pie import parts_pie
from semexplain.report.figures.style import display_name
from semexplain.report.figures.summary import summary
from semexplain.report.figures.waterfall import waterfall
from semexplain.report.page import Picture, cards, chosen_rows, names_shown, picture, render
from semexplain.report.paper import paper_numbers, paper_source
from semexplain.report.write_explanations import FILE as EXPLANATIONS
from semexplain.runs.comparison import beside_controls
from semexplain.runs.folder import METRICS, check_data, judged_metrics, recorded_config
from semexplain.runs.trained import load
from semexplain.system.files import write_text

MOST = 200  # images in a page
REPORT = "report.html"


def run_report(run: Path, *, most: int = MOST, overrides: Mapping[str, Any] | None = None) -> Path:
    """Write ``report.html`` into a finished run's folder: its measures beside the paper's, figures, and test images.

    Args:
        run: The run's folder.
        most: Images in the gallery.
        overrides: Where data or performer are now, by dotted key.

    Returns:
        The page's path.

    Raises:
        ConfigError: If the folder is no finished run, or its data or performer are gone.
    """
    overrides = overrides or {}
    config = recorded_config(run, overrides)
    if not (run / METRICS).exists() or not (run / EXPLANATIONS).exists():
        raise ConfigError(f"run: {run} has no {METRICS} or no {EXPLANATIONS}: it is not finished. `resume` it.")
    everything = Explanation.load(run / EXPLANATIONS)
    datamodule = ready_data(config.data)
    check_data(config, datamodule, run)
    split = datamodule.splits["test"]
    position = {name: number for number, name in enumerate(split.ids)}
    rows = chosen_rows(everything, most)
    kept = everything[rows]
    images = (split.read(position[name], config.performer.image_size) for name in kept.ids)
    trained = load(run, device=config.trainer.accelerator, overrides=overrides)
    shown = replace(trained.explain(images, pictures=True), ids=kept.ids, label=kept.label)
    numbers = judged_metrics(run)
    control = f", control: {display_name(told._target_.rpartition('.')[2])}" if (told := config.get("control")) else ""
    printed = paper_numbers(config)
    first, more = in_order(list(numbers), measures_of([config.metrics]))
    return _write(
        run / REPORT,
        f"Why {display_name(everything.target)}? {run.parent.name}/{run.name}",
        f"{len(everything)} test images, {len(everything.concepts)} concepts, β = {config.beta:g}{control}",
        everything,
        shown,
        verdict=verdict(numbers),
        controls=beside_controls(numbers),
        measures=[(measure, numbers[name], printed.get(name)) for name, measure in first.items()],
        more=[(measure, numbers[name], None) for name, measure in more.items()],
        paper=any(name in printed for name in first),
        configuration=OmegaConf.to_yaml(config),
    )


def in_order(names: Sequence[str], measures: Sequence[Measure]) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Numbers that a page shows at once, in the order of their measures, and all others, each with its measure."""
    by_name = {name: describe(name, measures) for name in names}
    order = [
        name for measure in measures if measure.first for name in names if measure.named(name.removeprefix("test/"))
    ]
    return {name: by_name[name] for name in order}, {n: m for n, m in by_name.items() if n not in order}


def images_report(path: Path, everything: Explanation, shown: Explanation, about: str, skipped: Sequence[str]) -> Path:
    """Write a page about images that are not of a data set.

    Args:
        path: The page.
        everything: All that were explained.
        shown: Those in the gallery, with pictures.
        about: One line, such as which explainer explained them.
        skipped: Names of images that could not be read.
    """
    title = f"Why {display_name(everything.target)}?"
    return _write(path, title, about, everything, shown, configuration=about, skipped=list(skipped))


def _write(
    path: Path,
    title: str,
    subtitle: str,
    everything: Explanation,
    shown: Explanation,
    *,
    configuration: str,
    verdict: Verdict | None = None,
    controls: Sequence[Sequence[str]] = (),
    measures: Sequence[tuple[Measure, float | None, float | None]] = (),
    more: Sequence[tuple[Measure, float | None, float | None]] = (),
    paper: bool = False,
    skipped: Sequence[str] = (),
) -> Path:
    gallery = cards(shown)
    page = render(
        "run.html.j2",
        title=title,
        subtitle=subtitle,
        target=display_name(everything.target),
        parts=bool(everything.parts),
        verdict=verdict,
        controls=controls,
        measures=measures,
        more=more,
        paper=paper,
        source=paper_source(),
        total=len(everything),
        pictures=_figures(everything, shown),
        cards=gallery,
        names=names_shown(shown),
        labelled=shown.label is not None,
        skipped=skipped,
        configuration=configuration,
        data=[item.explanation for item in gallery],
    )
    write_text(path, page)
    return path


def _figures(everything: Explanation, shown: Explanation) -> list[Picture]:
    found = [
        picture(
            "What counts overall",
            summary(everything),
            "Bars: mean absolute contribution of the largest concepts; the gallery below has the single images.",
            "Mean absolute contribution, apart for images with scores above 0 and others (hatched).",
        ),
        picture(
            "How contributions are spread",
            distribution(everything),
            "Bars: mean share of every concept in the absolute contributions.",
            "Each concept's mean share of the absolute contributions, in the network's order (compare Fig. 7).",
        ),
        picture(
            f"From b to the score: {shown.ids[0]}",
            waterfall(shown),
            "Staircase from the base value over the contributions to the score of the first image.",
            "Every contribution moves the prediction; the last step is what is not explained.",
        ),
    ]
    if everything.parts:
        found.append(
            picture(
                "Parts and Grad-CAM",
                parts_pie(shown, images=3),
                "Pies of the parts' shares of three images, beside their Grad-CAM; the bars below have the numbers.",
                "A part's share of all absolute contributions; hatched: against the score (compare Fig. 5).",
            )
        )
    else:
        found.append(
            picture(
                "Signed contributions",
                bars(shown, images=2),
                "Bars of the contributions of the first two images; the gallery below has the numbers.",
                "Largest contributions of the first two images (compare Fig. 6 of the paper).",
            )
        )
    return found
