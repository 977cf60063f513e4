"""Every command in the documentation, the recipes and the docstrings is one that its program takes."""

import argparse
import importlib
import importlib.util
import pathlib
import re
import shlex

import pytest

from mpn.cli.settings import command_line
from mpn.errors import UserError
from mpn.training import PrnTraining

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "mpn/pretrained").rglob("*.md"))]
RECIPES = sorted((ROOT / "docs").rglob("*.sh"))
MODULES = [*sorted((ROOT / "mpn").rglob("*.py")), ROOT / "tests/fuzz/__main__.py"]

# Words that stand for others, or for nothing.
PLACEHOLDERS = {"FORMAT": "onnx", "val|test": "val", "SHARE": "0.1", "COUNT": "3", "SEED": "0", "...": None}
SCRIPT = r"(?:train_\w+|evaluate|demo|docs/\S+)\.py|tests/fuzz"
PYTHON = r"(?:python -m (?=mpn\.)|python (?=\S+/)|(?:python )?(?=\w+\.py))"
COMMAND = re.compile(rf"(?:\w+='.*' |CUDA_VISIBLE_DEVICES=\d |exec )?{PYTHON}(mpn\.[\w.]+|{SCRIPT})( .*|)")
# Options of other programs.
FOREIGN = {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--cpus-per-task"}


class Parsed(Exception):
    pass


def commands_in(path):
    """The commands of a file: pairs of a program and its list of arguments."""
    text = path.read_text().replace("\\\n", " ")
    while array := re.search(r"^(\w+)=\((.*?)\)$", text, re.DOTALL | re.MULTILINE):
        text = text.replace(array[0], "").replace(f'"${{{array[1]}[@]}}"', array[2].replace("\n", " "))
    spans = [span.replace("\n", " ") for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    if path.suffix == ".py":  # other spans mention options
        spans = [span for span in spans if span.startswith("python ")]
    for line in [*spans, *text.splitlines()]:
        if found := COMMAND.fullmatch(line.strip()):
            words = shlex.split(found[2].removesuffix("'"), comments=True)
            if words[-1:] != ["..."] and (words or not found[1].startswith("mpn.")):
                words = [PLACEHOLDERS.get(word, word) for word in words]
                yield found[1], [word for word in words if word is not None]


@pytest.fixture
def parsers(monkeypatch):
    """Programs check their arguments and go no further; the parsers that they used."""
    used, goes_on = [], []
    parse_args = argparse.ArgumentParser.parse_args

    def stop(*_, **__):
        raise Parsed

    def kept(make):
        def made(*arguments):
            goes_on.append(make(*arguments))
            return goes_on[-1]

        return made

    def parse(parser, argv=None):
        used.append(parser)
        found = parse_args(parser, argv)
        return found if parser in goes_on else stop()

    def check_shared(rows, annotations, test, output, steps, shared):
        with command_line(PrnTraining, argv=[*shared, "--annotations", annotations]):
            stop()

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr("mpn.studies.prn_tables.run_table", check_shared)
    # Settings check themselves after parsing.
    for module, maker in (("mpn.cli.settings", "settings_parser"), ("mpn.demo.command", "_parser")):
        module = importlib.import_module(module)
        monkeypatch.setattr(module, maker, kept(getattr(module, maker)))
    for module, function in (
        *(("mpn.training", f"train_{stage}") for stage in ("keypoints", "person", "prn")),
        *(("mpn.evaluation", "evaluate"), ("mpn.demo.run", "run_demo")),
        *(("mpn.demo.web", "run_web"), ("mpn.demo.camera", "run_camera")),
    ):
        monkeypatch.setattr(importlib.import_module(module), function, stop, raising=False)
    return used


def main_of(program):
    if program.startswith("mpn."):
        is_file = (ROOT / program.replace(".", "/")).with_suffix(".py").exists()
        return importlib.import_module(program if is_file else f"{program}.__main__").main
    path = ROOT / program
    spec = importlib.util.spec_from_file_location("documented", path if path.is_file() else path / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_documented_commands_and_options_exist(parsers):
    programs = set()
    for path in (*PAGES, *RECIPES, *MODULES):
        for program, arguments in commands_in(path):
            programs.add(program)
            try:
                main_of(program)(arguments)
            except Parsed:
                continue
            except SystemExit:
                pass
            except UserError as error:
                if "nothing to resume" in str(error):
                    continue
            pytest.fail(f"{path}: {program} does not take {shlex.join(arguments)}")
    assert {"train_keypoints.py", "evaluate.py", "demo.py", "mpn.export", "mpn.synthetic"} <= programs
    assert len(programs) >= 18
    known = FOREIGN | {"--help"}.union(*(parser._option_string_actions for parser in parsers))
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)) - known
        assert not unknown, f"{page} mentions {unknown}"


def test_recipes_train_every_stage():
    stages = {program for recipe in RECIPES for program, _ in commands_in(recipe)}
    assert stages >= {"train_keypoints.py", "train_person.py", "train_prn.py"}
