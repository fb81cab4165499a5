"""What is written beside a filter's name: its share, its receptive field, and a warning."""

import csv
from io import StringIO

import numpy as np

from semexplain.concepts.geometry import MapGeometry
from semexplain.concepts.parts import OTHER, Parts
from semexplain.report.filters import captions_of, listed

PARTS = Parts(
    ("eye", "mouth_and_nose"), (1, OTHER, 0), "erased", None, {"n": 3}, matrix=np.array([[0.25, 0.75], [0, 0], [1, 0]])
)
SEEN = np.array([0.9, np.nan, 0.2])


def test_the_receptive_field_stands_beside_the_name_and_warns_where_it_covers_the_object() -> None:
    captions = captions_of(PARTS, MapGeometry(16, 7.5, 228), SEEN)
    assert captions == [
        "mouth_and_nose_75%_sees 228 px_= whole object",
        "sees 228 px",
        "eye_100%_sees 228 px",
    ]


def test_a_list_has_a_line_for_each_filter() -> None:
    lines = listed(PARTS, MapGeometry.even((32, 24), (4, 4)), SEEN).splitlines()
    assert lines == [
        "filter,name,eye,mouth_and_nose,background,receptive field,sees whole object",
        "0,mouth_and_nose,0.25,0.75,0,8 x 6 px,0.9",
        "1,none,0,0,1,8 x 6 px,nan",
        "2,eye,1,0,0,8 x 6 px,0.2",
    ]


def test_what_is_not_known_is_not_said() -> None:
    unknown = np.full(3, np.nan)
    assert captions_of(PARTS, None, unknown) == ["mouth_and_nose_75%", "", "eye_100%"]
    assert [line.split(",")[-2:] for line in listed(PARTS, None, unknown).splitlines()[1:]] == [["", "nan"]] * 3


def test_a_name_may_have_a_comma() -> None:
    (row,) = list(csv.DictReader(StringIO(listed(PARTS._replace(names=("eye, left", "b")), None, SEEN))))[2:]
    assert row["name"] == "eye, left"
