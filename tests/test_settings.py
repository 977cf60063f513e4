"""Settings classes: what they check, whether from Python or from a command line."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

from mpn.cli.settings import command_line, settings_parser
from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.evaluation import Evaluation
from mpn.models.backbone import LEVELS
from mpn.precision import TRAINING_PRECISIONS
from mpn.settings import options_of
from mpn.training import KeypointTraining, PersonTraining, PrnTraining
from mpn.training.losses import PRN_LOSSES

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASSES = {"keypoints": KeypointTraining, "person": PersonTraining, "prn": PrnTraining}


@pytest.mark.parametrize(
    ("settings_class", "values", "words"),
    [
        (KeypointTraining, {"epochs": 0}, "epochs must be a whole number of 1 or more, not 0"),
        (KeypointTraining, {"epochs": 2.5}, "epochs must be a whole number"),
        (KeypointTraining, {"epochs": "3"}, "epochs must be a whole number of 1 or more, not '3'"),
        (KeypointTraining, {"seed": True}, "seed must be"),
        (KeypointTraining, {"learning_rate": float("nan")}, "learning_rate must be a number above 0, not nan"),
        (KeypointTraining, {"backbone": "vgg"}, "backbone must be one of resnet50, .*, resnet101-dilated, not 'vgg'"),
        (KeypointTraining, {"concat": 1}, "concat must be True or False, not 1"),
        (KeypointTraining, {"image_size": 100}, "image_size must be a multiple of 32, not 100"),
        (KeypointTraining, {"channels": (64, 24)}, "channels must be 4 numbers"),
        (KeypointTraining, {"scale": (1.2, 0.8)}, "scale must be 2 numbers .* the smaller first, not"),
        (KeypointTraining, {"refiner_share": 0.5, "framing": "image"}, "leave out framing image"),
        (KeypointTraining, {"model": None}, "model must be a path, not None"),
        (PersonTraining, {"image_size": (96, 64)}, "image_size must be 2 numbers"),
        (PrnTraining, {"pool": 3}, "pool must be one of 1, 2, 4, not 3"),
        (PrnTraining, {"pool": True}, "pool must be one of"),
        (PrnTraining, {"imperfections": (0, 0, 0, 0)}, "imperfections must be 4 numbers"),
        (PrnTraining, {"design": "worst"}, "design must be one of paper, best, compact"),
    ],
)
def test_values_that_cannot_be_are_named(settings_class, values, words):
    with pytest.raises(UserError, match=words):
        settings_class(**values)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--image-size 100", "--image-size must be a multiple of 32, not 100"),
        ("--scale 1.2 0.8", "--scale must be 2 numbers .*, not \\[1.2, 0.8\\]"),
        ("--refiner 0.7 --framing image", "--refiner sees one person at a time: leave out --framing image"),
        ("--resume --model nowhere", "nothing to resume: nowhere/training/keypoints/last.weights.h5"),
    ],
)
def test_a_command_line_names_its_options(words, sentence):
    with pytest.raises(UserError, match=sentence), command_line(KeypointTraining, argv=words.split()):
        pass


def test_python_and_a_command_line_give_the_same_settings(tmp_path):
    words = f"--coco {tmp_path} --model m --no-int --channels 64 24 32 16 --refiner 0.7 --image-size 256"
    with command_line(KeypointTraining, argv=words.split()) as settings:
        assert settings == KeypointTraining(
            coco=tmp_path,
            model="m",
            intermediate_supervision=False,
            channels=[64, 24, 32, 16],
            refiner_share=0.7,
            image_size=256,
        )
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.epochs = 3


@pytest.mark.parametrize(("name", "dilated"), [("resnet101", False), ("resnet101-dilated", True)])
def test_a_backbones_name_says_whether_it_is_dilated(name, dilated):
    config = ModelConfig(**KeypointTraining(backbone=name).architecture())
    assert (config.backbone, config.dilated) == ("resnet101", dilated)
    assert KeypointTraining().with_architecture(config).backbone == name


def test_what_is_not_given_has_its_default(monkeypatch):
    monkeypatch.setenv("MPN_COCO", "somewhere")
    for settings_class in CLASSES.values():
        with command_line(settings_class, argv=[]) as settings:
            assert settings == settings_class() and settings.coco == "somewhere" and not settings.resume
    assert KeypointTraining(image_size=96).inference_size == (96, 160)
    assert (KeypointTraining().epochs, PersonTraining().learning_rate, PrnTraining().batch_size) == (100, 1e-5, 256)


@pytest.mark.parametrize("settings_class", [*CLASSES.values(), Evaluation])
def test_help_names_every_option_once(settings_class):
    text = settings_parser(settings_class).format_help()
    options = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
    assert len(options) == len(set(options)) == len(options_of(settings_class)) + ("--resume" in options)
    assert ("--resume" in options) == (settings_class is not Evaluation)
    assert len(options) <= 35


def test_choices_are_those_of_the_modules_that_act_on_them():
    def choices(settings_class, name):
        return tuple(options_of(settings_class)[name].metadata["kind"].arguments["choices"])

    assert choices(KeypointTraining, "precision") == TRAINING_PRECISIONS
    assert choices(KeypointTraining, "frozen_up_to") == LEVELS
    assert choices(PrnTraining, "loss") == tuple(PRN_LOSSES)


def test_settings_come_without_tensorflow():
    code = "import sys, mpn.training as t; t.KeypointTraining(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
