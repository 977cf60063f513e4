"""Times of models and exports: each is measured, in a table with ratios."""

import shutil

import pytest
from exports import picture

from mpn.deployment import speed
from mpn.images import write_image


def test_command(source, tmp_path, capsys):
    write_image(tmp_path / "photo.png", picture())
    models = [str(source), str(shutil.copytree(source, tmp_path / "copy"))]  # exports would take long
    speed.main([str(tmp_path / "photo.png"), *models, "--repeats", "2"])
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line[0].strip() for line in table[2:]] == models
    rows = [list(map(float, line[1:])) for line in table[2:]]
    first_milliseconds, _, first_a_second, _ = rows[0]
    for milliseconds, ratio, a_second, of_times in rows:
        assert milliseconds > 0 and ratio == pytest.approx(milliseconds / first_milliseconds, rel=0.05, abs=0.01)
        assert a_second > 0 and of_times == pytest.approx(first_a_second / a_second, rel=0.05, abs=0.01)
