"""Times of models and exports: each is measured, in a table with ratios."""

from exports import picture

from mpn.deployment import speed
from mpn.images import write_image


def test_command(export, source, tmp_path, capsys):
    write_image(tmp_path / "photo.png", picture())
    models = [str(source), str(export("saved_model"))]
    speed.main([str(tmp_path / "photo.png"), *models, "--repeats", "2"])
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line[0].strip() for line in table[2:]] == models
    for _, milliseconds, ratio, a_second, of_times in table[2:]:
        assert float(milliseconds) > 0 and float(ratio) > 0 and float(a_second) > 0 and float(of_times) > 0
    assert float(table[2][2]) == float(table[2][4]) == 1
