"""Annotations and detections changed at random: each is read and measured, or refused in one sentence."""

import random

import pytest
from fuzz.annotations import KINDS, mutated, run


@pytest.mark.parametrize(("make", "attempt"), KINDS[1:])
def test_files_that_are_changed_are_right_before(make, attempt, tmp_path):
    for name in ("7.jpg", "8.jpg"):
        (tmp_path / name).touch()
    attempt(make(), tmp_path)
    assert mutated(make(), random.Random(1)) == mutated(make(), random.Random(1)) != make()


@pytest.mark.slow
def test_changed_files_are_read_or_refused_in_one_sentence():
    assert run(400, 1) == []
