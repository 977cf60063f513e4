"""What the wheel installs: commands, and the licences of the weights."""

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from skimage import data

from mpn.images import write_image

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "mpn-demo": "demo",
    "mpn-evaluate": "evaluate",
    "mpn-train-keypoints": "train_keypoints",
    "mpn-train-person": "train_person",
    "mpn-train-prn": "train_prn",
    "mpn-export": "mpn.export",
}


def test_commands_are_those_of_the_scripts():
    written = dict(re.findall(r'"(mpn-[a-z-]+) = ([\w.:]+)"', (ROOT / "setup.py").read_text()))
    assert written.keys() == COMMANDS.keys()
    for name, value in written.items():
        command = importlib.metadata.EntryPoint(name, value, "console_scripts").load()
        assert command.args == (importlib.import_module(COMMANDS[name]).main,), name


def test_a_command_ends_with_a_sentence_and_a_status(capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("demo").main.run(["nowhere.jpg"])
    assert caught.value.code == 1 and capsys.readouterr().err.startswith("error: no such file")


@pytest.mark.slow
def test_the_wheel_runs_from_any_folder(tmp_path):
    """A fresh environment, which finds the dependencies of this one, gets the wheel."""
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    source = tmp_path / "source"  # a copy, since an earlier build in the checkout would get into the wheel
    shutil.copytree(ROOT / "mpn", source / "mpn")
    for name in ("setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run([sys.executable, "-m", *build], check=True)
    (wheel,) = tmp_path.glob("mpn-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for licence in ("LICENSE", "LICENSE-APACHE-2.0", "NOTICE"):
        assert any(re.fullmatch(rf"mpn-.*dist-info/(.*/)?{licence}", name) for name in names), licence
    venv.create(tmp_path / "env", with_pip=True)
    (site,) = (tmp_path / "env").glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    binaries = tmp_path / "env" / "bin"
    subprocess.run([binaries / "pip", "install", "-q", "--no-deps", wheel], check=True)
    assert set(COMMANDS) <= set(os.listdir(binaries))
    write_image(tmp_path / "photo.jpg", data.astronaut())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (["mpn-demo", "photo.jpg"], *([name, "--help"] for name in COMMANDS)):
        done = subprocess.run(
            [binaries / command[0], *command[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "results" / "photo_poses.json").read_text())["people"]) == 1
