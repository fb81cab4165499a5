"""What the tables say, against the numbers that went in and those that the paper printed."""

from pathlib import Path

import pytest

from semexplain.report.paper import paper_cell, paper_targets
from semexplain.report.tables.groups import grouped
from semexplain.report.tables.layout import Table, tables
from semexplain.report.tables.notes import Cell, cell_notes, claims
from semexplain.report.tables.records import behind, records
from semexplain.runs.run import Run
from tests.report.tables.finished import ANIMALS, FACES, NETWORKS, finished, numbers, row


def made(root: Path) -> dict[str, Table]:
    return {table.name: table for table in tables(grouped(map(Run, sorted(root.iterdir())))[0])}


def test_the_papers_numbers_and_ours_stand_below_each_other(tmp_path: Path):
    for seed, entropy in enumerate((5.0, 5.2)):
        finished(tmp_path, "dog", 10, seed, network="vgg16", metrics=numbers(entropy))
    found = made(tmp_path)
    entropy = "contribution entropy"
    assert row(found["entropy_animals"], "VGG-16", entropy, "ours", "paper")[3] == "5.972"
    here = row(found["entropy_animals"], "VGG-16", entropy, "ours", "here")
    assert here == ["–", "–", "–", "5.100 ± 0.141 (2)", "–", "–", "5.100 ± 0.141 (1 of 6)"]
    assert row(found["entropy_animals"], "VGG-16", entropy, "linear map", "here")[3] == "2.500"
    assert row(found["table1_animals"], entropy, "ours", "paper") == ["5.136", "5.810", "5.831", "5.932"]
    assert row(found["table1_animals"], entropy, "ours", "here") == ["–", "–", "–", "5.100 ± 0.141 (1 of 6)"]
    assert not any(line[1] == "baseline" and line[2] == "here" for line in found["table1_animals"].rows)
    assert set(found) == {
        "table1_animals",
        "entropy_animals",
        "table2_animals",
        "accuracy_animals",
        "deviation_animals",
    }


def test_accuracies_have_the_protocol_of_the_paper_honest_ones_and_intervals(tmp_path: Path):
    finished(tmp_path, "Male", 0.2, metrics=numbers(accuracy=0.9))
    table = made(tmp_path)["table2_faces"]
    male = 2
    assert row(table, "faces", "accuracy", "performer", "paper")[male] == "98.7"
    assert row(table, "faces", "accuracy", "performer", "here")[male] == "90.0"
    expected = {"τ best on test": "90.0 (1)", "τ best on train": "89.0 (1)", "τ = 0": "88.0 (1)"}
    for threshold, text in expected.items():
        assert row(table, "faces", f"accuracy, {threshold}", "ours", "here")[male] == text
    assert row(table, "faces", "accuracy, τ best on test", "ours", "95 % interval")[male] == "[78.6, 95.7]"  # 45 of 50
    assert row(table, "faces", "accuracy, τ = 0", "linear map", "here")[male] == "85.0"
    assert row(table, "faces", "relative deviation", "ours", "paper") == ["0.096", "0.064", "0.052", "0.088", "0.075"]
    with pytest.raises(AssertionError):  # the paper has no baseline deviation of faces
        row(table, "faces", "relative deviation", "baseline", "paper")


def test_different_settings_have_lines_of_their_own(tmp_path: Path):
    finished(tmp_path, "Male", 0.2, metrics=numbers(3.0))
    finished(tmp_path, "Male", 0.2, metrics=numbers(2.0), options={"explainer": {"depth": 18}})
    table = made(tmp_path)["table1_faces"]
    assert row(table, "faces", "contribution entropy", "ours", "here A")[2] == "3.000 (1)"
    assert row(table, "faces", "contribution entropy", "ours", "here B")[2] == "2.000 (1)"


def test_table_3_is_of_dogs_with_blanks_and_the_untrained_control(tmp_path: Path):
    errors = {"part_error/eye": 0.2, "part_error/leg": 0.4, "part_error_mean": 0.3}
    errors |= {f"gradient_activation_{name}": value / 2 for name, value in errors.items()}
    finished(tmp_path, "dog", 10, network="vgg16", metrics=numbers(**errors))
    finished(tmp_path, "cat", 10, network="vgg16", metrics=numbers(**{"part_error/eye": 9.0, "part_error_mean": 9.0}))
    table = made(tmp_path)["table3"]
    assert row(table, "VGG-16", "part error", "baseline", "paper") == [
        "0.399",
        "0.267",
        "– [1]",
        "0.027",
        "– [1]",
        "– [1]",
    ]
    assert row(table, "VGG-16", "part error", "ours", "here") == [
        "0.200 (1)",
        "–",
        "–",
        "–",
        "0.400 (1)",
        "0.300 (2 of 5)",
    ]
    assert row(table, "VGG-16", "part error", "gradient × activation", "here")[0] == "0.100"
    assert table.notes[0] == "[1] Blank in the paper."


def test_footnotes_are_the_two_averages_that_do_not_add_up_and_the_blanks():
    averages = {cell: note for cell, note in cell_notes().items() if not note.startswith("Blank")}
    assert averages == {
        Cell("entropy", "attributes", "ours", "average"): "Printed as 3.201; the 4 cells average 3.2255.",
        Cell("relative_deviation", "vgg_s", "ours", "average"): (
            "Printed as 0.039; the 6 cells average 0.0397 (cut off, not rounded)."
        ),
    }
    assert {cell.target for cell in cell_notes() if cell.table == "part_error"} == {"ear", "leg", "average"}
    assert "VGG-16 (96.7 to 95.6)" in claims()[0]
    assert "falls for AlexNet, VGG-M and VGG-S and rises for VGG-16 (0.036 to 0.041)" in claims()[1]


def test_the_printed_averages_are_those_of_the_paper():
    assert [paper_cell("accuracy", network, "performer", "average") for network in NETWORKS] == [93.9, 94.2, 95.5, 95.4]
    assert paper_cell("relative_deviation", "attributes", "baseline", "average") is None
    assert paper_targets("vgg16") == ANIMALS
    assert paper_targets("attributes") == tuple(target.lower() for target in FACES)
    assert paper_targets("resnet") == ()


def test_a_footnote_is_marked_where_the_cell_is(tmp_path: Path):
    finished(tmp_path, "Male", 0.2)
    table = made(tmp_path)["table1_faces"]
    assert row(table, "faces", "contribution entropy", "ours", "paper")[-1] == "3.201 [1]"
    assert table.notes == ["[1] Printed as 3.201; the 4 cells average 3.2255."]


def test_records_hold_what_the_tables_show_unrounded(tmp_path: Path):
    for seed, entropy in enumerate((3.0, 3.1)):
        finished(tmp_path, "Male", 0.2, seed, metrics=numbers(entropy))
    groups, _ = grouped(map(Run, sorted(tmp_path.iterdir())))
    found = [r for r in records(groups) if (r["target"], r["of"], r["from"]) == ("male", "ours", "here")]
    entropy = next(record for record in found if record["quantity"] == "contribution entropy")
    assert entropy["mean"] == pytest.approx(3.05)
    assert (entropy["count"], entropy["objects"], entropy["paper"]) == (2, 50, 3.28)
    accuracy = next(record for record in found if record["quantity"] == "accuracy, τ best on test")
    assert (accuracy["low"], accuracy["high"]) == pytest.approx((78.64, 95.65), abs=0.01)
    printed = [record for record in records(groups) if record["from"] == "paper" and record["note"]]
    assert [record["mean"] for record in printed] == [3.201]


def test_other_data_than_the_papers_are_named(tmp_path: Path):
    data = {"_target_": "semexplain.data.synthetic_faces.SyntheticFacesDataModule"}
    finished(tmp_path, "Male", 0.2, options={"data": data})
    table = behind(grouped(map(Run, sorted(tmp_path.iterdir())))[0])
    assert row(table, "faces", "male", "ours") == ["–", "SyntheticFaces", "PyTorch", "0", "–", "50"]
    assert table.notes[0].startswith("SyntheticFaces: not the paper's data")
