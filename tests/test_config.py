"""config.json: what is saved comes back, and everything that can be wrong with it is one sentence."""

import json

import pytest
from tiny_networks import TINY

from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.model_directory import load_config, save_config
from mpn.models.backbone import build_backbone


@pytest.fixture
def directory(tmp_path):
    save_config(TINY, tmp_path / "model")
    return tmp_path / "model"


def edit_config(directory, **fields):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def config_refused(directory):
    with pytest.raises(UserError) as caught:
        load_config(directory)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_config_round_trip(tmp_path):
    config = ModelConfig(backbone="resnet101", dilated=True, concat=False, prn_layers=2, image_size=(320, 512))
    save_config(config, tmp_path / "a" / "b")
    assert load_config(tmp_path / "a" / "b") == config


def test_unknown_field_is_named(directory):
    edit_config(directory, heads=7)
    message = config_refused(directory)
    assert "heads" in message and "config.json" in message


@pytest.mark.parametrize(
    "field, value, word",
    [
        ("backbone", "vgg16", "vgg16"),
        ("width", -1, "width"),
        ("dilated", True, "dilated"),
        ("keypoint_channels", 0, "keypoint_channels must be a whole number from 1 to 1024, not 0"),
        ("person_head_channels", -8, "not -8"),
        ("prn_layers", 0, "prn_layers"),
        ("prn_dropout", 1.0, "prn_dropout"),
        ("prn_margin", -0.1, "prn_margin"),
        ("image_size", [96, 64], "image_size"),
        ("image_size", [16, 64], "image_size"),
        ("image_size", [64], "image_size"),
        ("image_size", "large", "config.json"),
        ("image_size", None, "config.json"),
        ("image_size", [64.5, 96], "whole number"),
        ("image_size", [64, 10**6], "4096"),
        ("image_size", {"a": 1}, "whole number"),
        ("backbone", ["mobilenet_v2"], "backbone"),
        ("backbone", {}, "backbone"),
        ("width", 1e6, "width must be a number from 0.01 to 4"),
        ("width", float("nan"), "width"),
        ("width", "1", "width must be a number"),
        ("keypoint_channels", 10**9, "keypoint_channels must be a whole number from 1 to 1024"),
        ("prn_nodes", 1e9, "prn_nodes must be a whole number"),
        ("prn_nodes", True, "prn_nodes"),
        ("prn_layers", 10**6, "prn_layers"),
        ("prn_pool", [1], "prn_pool"),
        ("prn_window", 10**9 + 1, "prn_window"),
        ("prn_dropout", None, "prn_dropout"),
        ("prn_margin", float("inf"), "prn_margin"),
        ("prn_assignment", [], "prn_assignment"),
        ("concat", "yes", "concat must be True or False"),
        ("refiner_share", [0.5], "refiner_share must be a number above 0"),
        ("keypoint_channels", "many", "config.json"),
        ("keypoint_channels", None, "config.json"),
    ],
)
def test_bad_value_is_refused(directory, field, value, word):
    edit_config(directory, **{field: value})
    assert word in config_refused(directory)


@pytest.mark.parametrize("text", ["", "{", "not JSON", "[1, 2]", "3", "null", "\x00", f'{{"width": 1{"0" * 5000}}}'])
def test_config_that_is_no_json_object_is_refused(directory, text):
    (directory / "config.json").write_text(text)
    assert "config.json" in config_refused(directory)


def test_resnet_has_no_width():
    with pytest.raises(UserError, match="width"):
        ModelConfig(backbone="resnet50", width=0.5)


def test_width_of_a_mobilenet_is_kept():
    assert build_backbone("mobilenet_v2", width=0.35).output["C5"].shape[-1] == 1280
    assert ModelConfig(backbone="mobilenet_v2", width=0.5).replace(prn_nodes=3).width == 0.5
