"""What a concept is called is true of the image, also where contributions are measured from the concepts' means.

A concept is there if the network gives it a strength of at least 0, whatever its mean is. With ``module.centre=true``
more than a third of the words on drawn faces were false: they went by the sign of the centred strength.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import configured, smoke

from evaluate import evaluate
from semexplain.explanation import Explanation
from semexplain.report.figures.bars import bars
from semexplain.report.figures.by_concept import by_concept
from semexplain.report.figures.waterfall import waterfall
from semexplain.report.run import images_report, report_figures
from semexplain.runs.run import Run
from semexplain.runs.trained import load
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]
LEAST = 1e-4  # a strength nearer to 0 may have either sign, by rounding


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of ``method=semexplain``, which measures concepts from their means."""
    folder = tmp_path_factory.mktemp("words")
    train(configured(*smoke(faces, folder, "method=semexplain", "trainer.max_epochs=1")), folder / "run")
    return Run(folder / "run")


@pytest.fixture(scope="module")
def truth(run: Run) -> list[dict[str, bool]]:
    """Of every test image, whether a word about a concept is true of it, as the network itself says."""
    split, module = run.data.splits["test"], run.module
    rows = []
    for number in range(len(split.ids)):
        image = split.read(number, run.data.image_size)[None]
        with torch.no_grad():
            outputs = module.performer(image).concepts[0][module.teacher.columns]
        words: dict[str, bool] = {}
        for name, strength in zip(module.teacher.concept_names, outputs.tolist(), strict=True):
            plain = name.replace("_", " ").lower()
            opposite = plain[3:] if plain.startswith("no ") else f"no {plain}"
            if abs(strength) > LEAST:
                words |= {plain: strength > 0, opposite: strength < 0}
        rows.append(words)
    return rows


def counted(said: Iterable[tuple[int, str]], truth: list[dict[str, bool]]) -> Counter[bool]:
    """How many words are true of their image, and how many false; of what is no concept there are none."""
    return Counter(truth[row][word] for row, word in said if word in truth[row])


def in_reasons(explanation: Explanation) -> list[tuple[int, str]]:
    return [
        (row, reason.rsplit(" ", 1)[0])
        for row, reasons in enumerate(explanation.reasons(len(explanation.concepts)))
        for reason in reasons
    ]


def in_labels(explanation: Explanation) -> list[tuple[int, str]]:
    return [(row, word) for row in range(len(explanation)) for word in explanation.labels(row)]


def in_figures(explanation: Explanation) -> list[tuple[int, str]]:
    size, n = len(explanation), len(explanation.concepts)
    return [
        (int(axes.get_label().split()[-1]), label.get_text().replace("\n", " "))
        for figure in (
            bars(explanation, size, n),
            waterfall(explanation, size, n),
            by_concept(explanation, None, size, n),
        )
        for axes in figure.axes
        if axes.get_label().split()[0] in ("contributions", "waterfall", "ours")
        for label in [*axes.get_yticklabels(), *axes.texts]
    ]


def in_page(page: str) -> list[tuple[int, str]]:
    said = []
    for row, card in enumerate(re.findall(r"<article.*?</article>", page, re.DOTALL)):
        said += [(row, word) for word in re.findall(r'<th scope="row">(.*?)</th>', card)]
        reasons = re.search(r'<p class="reasons">(.*?)</p>', card)[1].split("; ")
        said += [(row, reason.rsplit(" ", 1)[0]) for reason in reasons]
    return said


def test_no_word_about_a_test_image_is_false(run: Run, truth: list[dict[str, bool]], tmp_path: Path):
    explanation = run.explanation
    assert len(explanation) == len(truth) == 23
    page = images_report(tmp_path / "page.html", explanation, explanation, "", [], report_figures(run)).read_text(
        "utf-8"
    )
    places = {
        "labels": in_labels(explanation),
        "reasons": in_reasons(explanation),
        "figures": in_figures(explanation),
        "page": in_page(page),
        "notebook": in_page(explanation[:10]._repr_html_()),
        "frame": in_labels(Explanation.from_frame(explanation.to_frame())),
    }
    found = {place: counted(said, truth) for place, said in places.items()}
    assert {place: count[False] for place, count in found.items()} == dict.fromkeys(places, 0)
    assert found["labels"][True] == sum(map(len, truth)) // 2
    assert min(count[True] for count in found.values()) > 100
    # They would not be true by the sign of what alpha multiplies.
    before = counted(in_labels(replace(explanation, strengths=None)), truth)
    assert before[False] > 0.1 * before.total()


def test_no_word_about_anyones_image_is_false(run: Run, truth: list[dict[str, bool]]):
    split = run.data.splits["test"]
    images = [split.read(number, run.data.image_size) for number in range(len(split.ids))]
    explanation = load(run.path).explain(images, progress=False)
    for said in (in_labels(explanation), in_reasons(explanation)):
        count = counted(said, truth)
        assert (count[False], count[True] > 100) == (0, True)


def test_no_word_of_a_rival_is_false(run: Run, truth: list[dict[str, bool]], tmp_path: Path):
    evaluate(configured(f"run={run.path}", "rival=prior_only", "metrics=[]", name="evaluate"), tmp_path)
    explanation = Explanation.load(tmp_path / "explanations.parquet")
    count = counted(in_labels(explanation), truth)
    assert (count[False], count[True] > 100) == (0, True)


def test_y_is_never_centred(run: Run):
    """The table holds the strengths as the network says them, and beside them what the weights multiply."""
    frame, module = run.explanation.to_frame(), run.module
    split, names = run.data.splits["test"], module.teacher.concept_names
    image = torch.stack([split.read(number, run.data.image_size) for number in range(len(split.ids))])
    with torch.no_grad():
        strengths = module.performer(image).concepts[:, module.teacher.columns]
    for i, name in enumerate(names):
        y, centred = (torch.from_numpy(frame[f"{kind}/{name}"].to_numpy().copy()) for kind in ("y", "centred"))
        alpha, contribution = (frame[f"{kind}/{name}"].to_numpy() for kind in ("alpha", "contribution"))
        torch.testing.assert_close(y, strengths[:, i], rtol=1e-2, atol=1e-3)  # a cache rounds feature maps to float16
        torch.testing.assert_close(y - centred, module.teacher.reference[i].expand(23), rtol=1e-5, atol=1e-6)
        assert (alpha * centred.numpy() == contribution).all()


def test_a_table_of_before_is_told(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Its y were centred, which the table does not say; the run's configuration does."""
    old = replace(run.explanation, strengths=None)
    old.save(tmp_path / "explanations.parquet")
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    assert torch.equal(Run(tmp_path, trust=True).explanation.values, old.values)
    assert "written when y was centred as well" in caplog.text
    caplog.clear()
    _ = Run(run.path).explanation
    assert not caplog.text
