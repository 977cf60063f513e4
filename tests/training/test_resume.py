"""Options of a resumed run: taken from its checkpoint, and refused where they differ."""

import json
import shutil

import h5py
import pytest
from runs import assert_one_sentence, assert_same_log, assert_same_training, call, exit_of, prn_arguments

import train_keypoints
import train_person
import train_prn
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint, load_networks, weights_file
from mpn.training import PrnTraining
from mpn.training.callbacks import ResumablePlateau
from mpn.training.loop import _restored_state
from mpn.training.settings import to_store
from mpn.weights import read_notes

STAGES = {"keypoints": train_keypoints, "person": train_person, "prn": train_prn}


@pytest.fixture
def parsed(monkeypatch):
    """Function of a stage and arguments that gives the options with which it would be trained."""

    def of(stage, *arguments):
        found = []
        monkeypatch.setattr(f"mpn.training.{stage}.train_{stage}", found.append)
        call(STAGES[stage], arguments)
        return found[0]

    return of


@pytest.fixture
def checkpoint(tmp_path):
    """Function that writes the checkpoint of a stage, of its notes alone, and gives its model directory."""

    def write(stage, **notes):
        path = last_checkpoint(tmp_path / "model", stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["mpn"] = json.dumps(notes)
        return tmp_path / "model"

    return write


def stored(settings):
    return json.loads(json.dumps(to_store(settings)))


FLAGS = {
    "keypoints": "--backbone mobilenet_v2 --width 0.5 --no-int --image-size 64 --inference-size 96 --scale 0.7 1.3 "
    "--average 0.9 --epochs 7 --learning-rate 0.01 --seed 3",
    "person": "--image-size 64 96 --mirror 0 --scale 0.8 1.2 --colour 0.1 --hold-out 0",
    "prn": "--design best --nodes 16 --no-residual-gain --curriculum --annotations a.json --schedule plateau --limit 3",
}


@pytest.mark.parametrize("stage", STAGES)
def test_resume_alone_gives_the_options_of_the_run(stage, parsed, checkpoint, monkeypatch):
    monkeypatch.delenv("MPN_COCO", raising=False)
    first = parsed(stage, "--coco", "c", *FLAGS[stage].split())
    options = stored(first)
    model = checkpoint(stage, options=options)
    monkeypatch.setenv("MPN_COCO", "elsewhere")
    resumed = parsed(stage, "--model", model, "--resume")
    assert stored(resumed) == options and resumed.resume and resumed.model == str(model)
    again = parsed(stage, "--model", model, "--resume", "--coco", "c", *FLAGS[stage].split())
    assert {**stored(again), "coco": ...} == {**options, "coco": ...}


@pytest.mark.parametrize(
    ("stage", "flags", "words"),
    [
        ("keypoints", "--backbone resnet101", "with --backbone mobilenet_v2, not --backbone resnet101"),
        ("keypoints", "--int", "with no --int, not --int"),
        ("keypoints", "--no-concat --width=1", "with --concat and --width 0.5, not no --concat and --width 1.0"),
        ("keypoints", "--inference-size 64 128", "--inference-size 96 160, not --inference-size 64 128"),
        ("keypoints", "--scale 0.7 1.4", "--scale 0.7 1.3, not --scale 0.7 1.4"),
        ("keypoints", "--batch-size 9", "--batch-size 8, not --batch-size 9"),
        ("person", "--image-size 128", "--image-size 64 96, not --image-size 128 213"),
        ("person", "--hold-out 0.1", "--hold-out 0.0, not --hold-out 0.1"),
        ("prn", "--limit 4", "--limit 3, not --limit 4"),
        ("person", "--average 0.5", "no --average, not --average 0.5"),
        ("prn", "--nodes 32", "--nodes 16, not --nodes 32"),
        ("prn", "--design compact", "--design best, not --design compact"),
        (
            "prn",
            "--residual-gain --no-curriculum",
            "no --residual-gain and --curriculum, not --residual-gain and no --curriculum",
        ),
    ],
)
def test_what_differs_is_refused_by_name_with_both_values(stage, flags, words, parsed, checkpoint):
    model = checkpoint(stage, options=stored(parsed(stage, *FLAGS[stage].split())))
    with pytest.raises(UserError) as caught:
        parsed(stage, "--model", model, "--resume", *flags.split())
    assert words in str(caught.value) and str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_no_harm_may_change(parsed, checkpoint):
    flags = FLAGS["keypoints"].split()
    model = checkpoint("keypoints", options=stored(parsed("keypoints", *flags)))
    changes = "--epochs 9 --learning-rate 1e-5 --precision mixed_bfloat16 --cache-images --coco d"
    settings = parsed("keypoints", "--model", model, "--resume", *changes.split())
    assert (settings.epochs, settings.learning_rate, settings.cache_images) == (9, 1e-5, True)
    assert (settings.coco, settings.precision) == ("d", "mixed_bfloat16")
    assert (settings.width, settings.seed) == (0.5, 3)


def test_data_of_a_kind_that_the_run_had_not_are_refused(parsed, checkpoint):
    model = checkpoint("prn", options=stored(parsed("prn", "--coco", "c")))
    with pytest.raises(UserError, match="no --annotations, not --annotations"):
        parsed("prn", "--model", model, "--resume", "--annotations", "a.json")


def test_python_resumes_as_the_command_line_does(checkpoint):
    model = checkpoint("prn", options=stored(PrnTraining(coco="c", nodes=16)))
    settings = PrnTraining.resumed(model, epochs=50)
    assert (settings.nodes, settings.epochs, settings.resume) == (16, 50, True)
    with pytest.raises(UserError, match="was trained with nodes 16, not nodes 32: .* another model directory"):
        PrnTraining.resumed(model, nodes=32)


# Options as the version before stored them, where they have other names here.
OLD = {
    "keypoints": {
        **{"backbone": "mobilenet_v2", "width": 1.5, "keypoint_channels": 96, "keypoint_head_channels": 32},
        **{"person_channels": 64, "person_head_channels": 48, "concat": True, "intermediate_supervision": True},
        **{"validation": "held-out", "hold_out": 0.04, "workers": 2, "limit": None, "plateau_patience": 3},
        **{"min_learning_rate": 1e-7, "sigma": 7.0, "silhouette_weight": 0.1, "enlargement": 4.0, "occlusion": 0.0},
        **{"partial": None, "partial_share": 0.3, "paste": 0.0, "refiner": False, "person_share": 0.6},
        **{"image_size": 416, "inference_size": [384, 544], "scale": [0.7, 1.6], "coco": "/c", "epochs": 5},
    },
    "person": {"validation": "train", "hold_out": 0.02, "image_size": [320, 448], "workers": 2, "limit": None},
    "prn": {
        **{"design": "compact", "window": 11, "assignment": "optimal", "annotations": "/a.json", "coco": None},
        **{"displacement": 0.25, "dropped": 0.1, "false_peaks": 0.1, "least_height": 0.3, "nodes": 512},
        **{"validation": "val", "hold_out": 0.05, "plateau_patience": 3, "min_learning_rate": 1e-7, "limit": 9},
    },
}


def test_options_of_the_version_before_get_their_new_names(parsed, checkpoint):
    of = {}
    for stage, options in OLD.items():
        of[stage] = parsed(stage, "--model", checkpoint(stage, options=options), "--resume")
    first = of["keypoints"]
    assert (first.channels, first.refiner_share) == ((96, 32, 64, 48), None)
    assert (first.hold_out, first.inference_size, first.scale) == (0.04, (384, 544), (0.7, 1.6))
    assert of["person"].hold_out == 0
    third = of["prn"]
    assert (third.imperfections, third.hold_out, third.limit) == ((0.25, 0.1, 0.1, 0.3), 0.05, 9)
    assert (third.dropout, third.pool, third.coco) == (0.0, 4, None)


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"refiner": True, "person_share": 0.75, "inference_size": None}, "refiner_share", 0.75),
        ({"backbone": "resnet101", "dilated": True, "width": 1.0}, "backbone", "resnet101-dilated"),
        ({"validation": "val", "hold_out": 0.02}, "hold_out", None),
        ({"validation": "val", "hold_out": 0.3}, "hold_out", 0.3),  # /c has no val split
    ],
)
def test_old_options_are_read_with_their_meaning(changes, name, value, parsed, checkpoint):
    model = checkpoint("keypoints", options=OLD["keypoints"] | changes)
    assert getattr(parsed("keypoints", "--model", model, "--resume"), name) == value


def test_pairs_of_channels_become_one_option(parsed, checkpoint):
    options = {name: value for name, value in OLD["keypoints"].items() if "channels" not in name}
    options |= {"keypoint_channels": [96, 32], "person_channels": [64, 48]}
    settings = parsed("keypoints", "--model", checkpoint("keypoints", options=options), "--resume")
    assert settings.channels == (96, 32, 64, 48)


@pytest.mark.parametrize("changes", [{"occlusion": 0.5}, {"sigma": 9.0}, {"limit": 5}, {"person_share": 0.5}])
def test_options_that_are_no_more_end_an_old_run(changes, parsed, checkpoint):
    ((name, value),) = changes.items()
    model = checkpoint("keypoints", options=OLD["keypoints"] | changes)
    with pytest.raises(UserError, match=f"was trained with --{name.replace('_', '-')} {value}, which this version"):
        parsed("keypoints", "--model", model, "--resume")


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        *(
            ("prn", {name: "x"})
            for name in ("nodes", "dropout", "curriculum", "design", "loss", "pool", "learning_rate")
        ),
        *(
            ("prn", options)
            for options in ({"nodes": [8]}, {"design": [8]}, {"seed": True}, {"coco": 3}, {"margin": 7})
        ),
        *(("person", {"image_size": size}) for size in (64, [64], [64, "96"], [64, 96, 96], {})),
        *(("keypoints", {"scale": scale}) for scale in (1.0, [1.0], [1, None])),
    ],
)
def test_stored_options_of_another_type_are_refused(stage, options, parsed, checkpoint):
    model = checkpoint(stage, options=options)
    with pytest.raises(UserError, match="holds no options of a run"):
        parsed(stage, "--model", model, "--resume")


def test_runs_from_before_options_were_stored_are_refused(parsed, checkpoint):
    with pytest.raises(UserError, match="holds no options of a run"):
        parsed("prn", "--model", checkpoint("prn", schedule="cosine", design="best"), "--resume")


def test_notes_are_not_believed_before_their_checksum(parsed, checkpoint):
    model = checkpoint("prn", options={"nodes": 16})
    with h5py.File(last_checkpoint(model, "prn"), "r+") as file:
        file.attrs["mpn_sha256"] = "0" * 64
    with pytest.raises(UserError, match="not those that were written"):
        parsed("prn", "--model", model, "--resume", "--nodes", "32")


@pytest.mark.parametrize(
    "memory", [{}, {"best": 1.0, "wait": 0}, {"best": "1", "wait": 0, "cooldown_counter": 0}, {"params": 3}]
)
def test_a_schedule_without_its_memory_is_refused(memory):
    state = {"epoch": 1, "samples": 4, "best": 0.5, "plateau": memory}
    with pytest.raises(UserError, match="last holds no state of a run"):
        _restored_state({"state": state}, "last", ResumablePlateau())


def test_a_new_run_takes_nothing_from_an_old_one(parsed, checkpoint):
    model = checkpoint("prn", options={"nodes": 16})
    assert parsed("prn", "--model", model).nodes == 1024


# --- real runs


def test_resume_alone_goes_on_as_the_run_was(labels_only, stage_3, tmp_path, capsys):
    model = tmp_path / "model"
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 1))
    code, error = exit_of(train_prn, ["--model", model, "--resume", "--nodes", 32], capsys)
    assert code == 1 and "--nodes 8, not --nodes 32" in error
    assert_one_sentence(error)
    call(train_prn, ["--model", model, "--resume", "--epochs", 2])
    assert_same_log(stage_3, model, "prn")
    assert_same_training(last_checkpoint(stage_3, "prn"), last_checkpoint(model, "prn"))
    assert read_notes(last_checkpoint(model, "prn"))["options"]["epochs"] == 2


@pytest.mark.parametrize(("before", "after"), [("float32", "mixed_float16"), ("mixed_float16", "float32")])
def test_the_precision_may_change(labels_only, tmp_path, capsys, before, after):
    model = tmp_path / "model"
    call(train_prn, prn_arguments(model, "--coco", labels_only, "--epochs", 1, "--precision", before))
    call(train_prn, ["--model", model, "--resume", "--epochs", 2, "--precision", after])
    assert "the optimizer begins anew" in capsys.readouterr().out
    assert read_notes(last_checkpoint(model, "prn"))["state"]["epoch"] == 2


@pytest.mark.parametrize("data", [None, b"half of the weights"])
def test_best_weights_that_were_lost_are_replaced_by_the_last(stage_3, tmp_path, capsys, data):
    model = shutil.copytree(stage_3, tmp_path / "model")
    weights_file(model, "prn").unlink()
    if data:
        weights_file(model, "prn").write_bytes(data)
    call(train_prn, ["--model", model, "--resume"])
    assert "the run is finished" in capsys.readouterr().out
    load_networks(model, ("prn",))


@pytest.mark.parametrize("state", [None, 3, {}, {"epoch": "1", "samples": 4, "best": 0.5, "plateau": {}}])
def test_a_checkpoint_without_a_state_is_refused(stage_3, tmp_path, capsys, state):
    model = shutil.copytree(stage_3, tmp_path / "model")
    with h5py.File(last_checkpoint(model, "prn"), "r+") as file:
        del file.attrs["mpn_sha256"]
        file.attrs["mpn"] = json.dumps(json.loads(file.attrs["mpn"]) | {"state": state})
    code, error = exit_of(train_prn, ["--model", model, "--resume", "--epochs", 9], capsys)
    assert code == 1 and "holds no state of a run" in error
    assert_one_sentence(error)
