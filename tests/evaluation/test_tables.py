"""Numbers in tables, and tables in files."""

import csv

import numpy as np
import pytest

from mpn.evaluation.tables import as_share, markdown, write_csv


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.8944, {}, ".894"),
        (1.0, {}, "1.000"),
        (0.0, {}, ".000"),
        (0.5, {"digits": 2}, ".50"),
        (0.0123, {"signed": True}, "+.012"),
        (-0.25, {"signed": True}, "-.250"),
        (-0.0001, {"signed": True}, "+.000"),
        (np.float64(-1.0), {"signed": True}, "-1.000"),
        (10.25, {}, "10.250"),
        (-20.5, {"signed": True}, "-20.500"),
    ],
)
def test_shares_as_the_paper_prints_them(value, options, text):
    assert as_share(value, **options) == text


def test_markdown():
    lines = markdown(["design", "AP"], [["paper", 0.894], ["none", -1.0]]).splitlines()
    assert lines == ["| design | AP |", "| --- | --- |", "| paper | .894 |", "| none | - |"]


def test_csv(tmp_path):
    write_csv(tmp_path / "a.csv", ["name", "count", "share"], iter([("a, b", 3, 1 / 3), ("é", 0, None)]))
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", "count", "share"], ["a, b", "3", "0.333333"], ["é", "0", ""]]
    with pytest.raises(OSError):
        write_csv(tmp_path / "none" / "a.csv", [], [])
