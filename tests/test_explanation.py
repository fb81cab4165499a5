"""Tests of semexplain.explanation: Eq. (1) and what it leaves alone."""

import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from semexplain.explanation import Explanation


def explanation(bias: float = 0.5) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    score, concepts, weights = (torch.randn(*shape, generator=generator) for shape in [(4,), (4, 3), (4, 3)])
    return Explanation(score, concepts, weights, torch.tensor(bias), ("Smiling", "Goatee", "No_Beard"), "Male")


def test_prediction_is_eq_1_image_by_image() -> None:
    explained = explanation()
    for image in range(4):
        total = 0.5 + sum(float(explained.weights[image, i] * explained.values[image, i]) for i in range(3))
        torch.testing.assert_close(explained.prediction[image], torch.tensor(total))
        torch.testing.assert_close(explained.residual[image], explained.score[image] - total)


def test_the_bias_moves_the_prediction_and_no_contribution() -> None:
    before, after = explanation(0.5), explanation(5.5)
    torch.testing.assert_close(after.prediction, before.prediction + 5)
    torch.testing.assert_close(after.contributions, before.contributions, rtol=0, atol=0)


def test_a_common_scale_of_concepts_and_weights_changes_nothing() -> None:
    before = explanation()
    after = replace(before, values=before.values * 3, weights=before.weights / 3)
    torch.testing.assert_close(after.contributions, before.contributions)
    torch.testing.assert_close(after.prediction, before.prediction)


def full() -> Explanation:
    """Three images with everything an explanation can hold."""
    generator = torch.Generator().manual_seed(1)
    three = explanation()[:3]
    eye = torch.randn(3, 1, generator=generator)
    return replace(
        three,
        ids=("a.jpg", "b.jpg", "c <d>.jpg"),
        label=torch.tensor([True, False, True]),
        parts=("eye", "other"),
        part_contributions=torch.cat([eye, three.contributions.sum(1, keepdim=True) - eye], 1),
        image=torch.randint(0, 256, (3, 3, 8, 8), generator=generator, dtype=torch.uint8),
        heat=torch.rand(3, 8, 8, generator=generator),
    )


def assert_equal(first: Explanation, second: Explanation) -> None:
    """All fields are the same to the last bit."""
    for field in fields(Explanation):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype, field.name
            assert torch.equal(one, other), field.name
        else:
            assert one == other, field.name


def centred() -> Explanation:
    """The same, measured from the concepts' means."""
    mean = torch.tensor([5.0, -3.0, 0.25])
    return replace(full(), strengths=full().values + mean)


def test_values_base_value_and_residual_are_the_score() -> None:
    explained = explanation()
    total = explained.contributions.sum(1) + explained.base_value + explained.residual
    torch.testing.assert_close(total, explained.score, rtol=0, atol=1e-6)


def test_saving_and_loading_change_nothing(tmp_path: Path) -> None:
    for number, saved in enumerate((explanation(), full(), centred())):
        path = tmp_path / f"{number}.parquet"
        saved.save(path)
        assert_equal(Explanation.load(path), saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.parquet", "1.parquet", "2.parquet"]


def test_a_frame_holds_everything_but_pictures() -> None:
    saved = full()
    frame = saved.to_frame()
    assert_equal(Explanation.from_frame(frame, "Male"), replace(saved, image=None, heat=None))
    assert frame["contribution/Goatee"].tolist() == (saved.weights[:, 1] * saved.values[:, 1]).tolist()
    assert frame["residual"].tolist() == saved.residual.tolist()


def test_a_frame_holds_the_strengths_and_what_alpha_multiplies() -> None:
    saved = centred()
    frame = saved.to_frame()
    assert_equal(Explanation.from_frame(frame, "Male"), replace(saved, image=None, heat=None))
    assert_equal(Explanation.from_frame(frame[1:], "Male"), replace(saved[1:], image=None, heat=None))
    assert frame["y/Goatee"].tolist() == saved.strengths[:, 1].tolist()
    assert frame["centred/Goatee"].tolist() == saved.values[:, 1].tolist()
    assert frame["contribution/Goatee"].tolist() == (saved.weights[:, 1] * saved.values[:, 1]).tolist()
    assert not [name for name in full().to_frame() if name.startswith("centred/")]


def test_words_go_by_the_strength_and_not_by_what_is_left_without_its_mean() -> None:
    explained = Explanation(
        torch.tensor([1.0]),
        torch.tensor([[-2.0, 1.0, -2.0]]),
        torch.tensor([[-3.0, 2.0, -1.0]]),
        torch.tensor(0.0),
        ("Smiling", "Goatee", "No_Beard"),
        strengths=torch.tensor([[3.0, -4.0, 3.0]]),  # below their means of 5, above that of -5, below that of 5
    )
    assert explained.labels(0) == ["smiling", "no goatee", "no beard"]
    assert explained.reasons() == [["smiling +6.00", "no goatee +2.00", "no beard +2.00"]]
    assert replace(explained, strengths=None).labels(0) == ["no smiling", "goatee", "beard"]


def test_what_is_no_file_of_explanations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other")
    with pytest.raises(ValueError, match="not a complete parquet file"):
        Explanation.load(tmp_path / "text")
    with pytest.raises(ValueError, match="holds no explanations"):
        Explanation.load(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        Explanation.load(tmp_path / "absent")


def test_reasons_speak_for_the_decision_in_order() -> None:
    explained = Explanation(
        torch.tensor([-2.0, 2.0]),
        torch.tensor([[1.0, -1.0, -2.0], [1.0, -1.0, -2.0]]),
        torch.tensor([[-1.0, 0.5, 0.25], [-1.0, 0.5, 0.25]]),
        torch.tensor(0.0),
        ("Smiling", "Goatee", "No_Beard"),
    )  # contributions -1, -0.5, -0.5
    assert explained.reasons(2) == [["smiling -1.00", "no goatee -0.50"], []]
    assert explained.top(1) == [[("Smiling", -1.0)]] * 2


def test_parts_are_shown_in_place_of_their_filters() -> None:
    explained = full()
    (name, value), _ = explained.top(2)[0]
    column = explained.parts.index(name)
    assert value == explained.part_contributions[0, column]
    assert abs(value) == explained.part_contributions[0].abs().max()


def test_batches_are_joined_and_taken_apart() -> None:
    saved = full()
    assert_equal(Explanation.join(list(saved)), saved)
    assert_equal(Explanation.join(list(centred())), centred())
    assert_equal(saved[[2, 0]][1], saved[0])
    with pytest.raises(ValueError, match="several explainers"):
        Explanation.join([saved, replace(saved, base_value=torch.tensor(9.0))])
    for pair in ([saved, centred()], [centred(), saved]):
        with pytest.raises(ValueError, match="several explainers: .* or centring differ"):
            Explanation.join(pair)


@pytest.mark.parametrize("field", ["weights", "label", "part_contributions", "image", "strengths"])
def test_fields_that_do_not_fit_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        replace(full(), **{field: torch.zeros(2, 5)})


def test_a_notebook_shows_cards_with_escaped_names() -> None:
    page = full()._repr_html_()
    assert page.count("<article") == 3
    assert "c &lt;d&gt;.jpg" in page
    assert "<d>" not in page


def test_to_shap_has_the_same_contributions() -> None:
    shap = pytest.importorskip("shap")
    explained = explanation()
    other = explained.to_shap()
    assert isinstance(other, shap.Explanation)
    np.testing.assert_array_equal(other.values, explained.contributions)
    np.testing.assert_array_equal(other.base_values, [0.5] * 4)
    np.testing.assert_array_equal(other.data, explained.values)
    np.testing.assert_array_equal(replace(explained, strengths=explained.values + 5).to_shap().data, other.data + 5)


def test_to_shap_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ImportError, match="pip install shap"):
        explanation().to_shap()
