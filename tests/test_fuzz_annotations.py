"""Annotations and detections changed at random: each is read and measured, or refused in one sentence."""

import random

import pytest
from fuzz import annotations, media, model_files
from fuzz.__main__ import main
from fuzz.annotations import KINDS, mutated, run


@pytest.mark.parametrize(("make", "attempt"), KINDS[1:])
def test_files_that_are_changed_are_right_before(make, attempt, tmp_path):
    for name in ("7.jpg", "8.jpg"):
        (tmp_path / name).touch()
    attempt(make(), tmp_path)
    assert mutated(make(), random.Random(1)) == mutated(make(), random.Random(1)) != make()


@pytest.mark.parametrize("failing", [None, annotations, model_files])
def test_the_command_shares_its_count_and_fails_where_a_kind_does(failing, monkeypatch, capsys):
    counts = []
    for kind in (annotations, media, model_files):
        found = ["it failed"] if kind is failing else []
        monkeypatch.setattr(kind, "run", lambda count, seed, found=found: counts.append((count, seed)) or found)
    assert main(["8", "3"]) == (failing is not None)
    assert sum(count for count, _ in counts) == 8 and len(counts) == 3 and {seed for _, seed in counts} == {3}
    assert ("it failed" in capsys.readouterr().out) == (failing is not None)


@pytest.mark.slow
def test_changed_files_are_read_or_refused_in_one_sentence():
    assert run(400, 1) == []
