"""demo.py's command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import demo
from mpn.demo.settings import PredictionSettings

ROOT = Path(__file__).parents[2]


def test_command_line_reaches_run_demo(monkeypatch):
    calls = []
    monkeypatch.setattr("mpn.demo.run.run_demo", lambda *args, **options: calls.append((args, options)))
    required = ["a.jpg", "b", "--model", "m", "--output", "o"]
    demo.main([])
    demo.main([*required, "--image-size", "800", "--threshold", "0.5", "--show", "--precision", "float32"])
    views = ["--scales", "0.5,1", "--mirror", "--crops", "2"]
    demo.main([*required, "--image-size", "320", "640", "--heatmaps", "--rle", *views])
    for more in (["--no-refine"], ["--refine", "r"], ["--model", "small"], ["--model", "m"]):
        demo.main(more)
    (plain, first), (args, second), (called, third), *others = calls
    defaults = {"show": False, "heatmaps": False, "rle": False, "refine_videos": True}
    small = PredictionSettings(refine="small-refiner")
    assert plain == ([], "results", "small", small) and first == {**defaults, "refine_videos": False}
    settings = PredictionSettings(threshold=0.5, image_size=(800, 1333), precision="float32")
    assert args == (["a.jpg", "b"], "o", "m", settings) and second == {**defaults, "show": True}
    settings = PredictionSettings(image_size=(320, 640), scales=(0.5, 1.0), mirror=True, crops=2)
    assert called[3] == settings and third == {**defaults, "heatmaps": True, "rle": True}
    plain = PredictionSettings()
    assert [args[3] for args, _ in others] == [plain, PredictionSettings(refine="r"), small, plain]
    assert [options["refine_videos"] for _, options in others] == [True, True, False, True]


def test_command_line_reaches_run_camera(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("mpn.demo.camera.run_camera", lambda *args, **options: calls.append((args, options)))
    demo.main(["--camera", "0"])
    assert calls.pop()[0] == (0, "small", PredictionSettings())
    demo.main(["--camera", "0", "--threshold", "0.5", "--mirror", "--refine", "r"])
    assert calls == [((0, "small", PredictionSettings(threshold=0.5, mirror=True, refine="r")), {})]
    for extra in ("a.jpg", "--show", "--heatmaps", "--rle", "--output=o"):
        with pytest.raises(SystemExit) as caught:
            demo.main(["--camera", "1", extra])
        assert caught.value.code == 2 and "--camera" in capsys.readouterr().err
    assert len(calls) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--fields"],
        ["--threshold", "1.5"],
        ["--refine", "small-refiner", "--no-refine"],
        ["--threshold", "nan"],
        ["--image-size", "0"],
        ["--image-size", "800", "600"],
        ["--image-size", "1", "2", "3"],
        ["--image-size", "640", "b.jpg"],
        ["--precision", "float8"],
        ["--scales", "1,,2"],
        ["--scales", "1,-2"],
        ["--camera", "-1"],
        ["--camera", "front"],
        ["--port", "7000"],
    ],
)
def test_impossible_options_are_refused(options, capsys):
    with pytest.raises(SystemExit) as caught:
        demo.main(["a.jpg", "--model", "m", "--output", "o", *options])
    assert caught.value.code == 2 and options[0] in capsys.readouterr().err


def test_help_and_option_errors_import_nothing_slow():
    code = (
        "import sys, demo\n"
        "try: demo.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(int(any(name in sys.modules for name in ('cv2', 'keras', 'tensorflow'))))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0
