"""Options of a resumed run: taken from its checkpoint, and refused where they differ."""

import json
import math
import shutil

import h5py
import pytest
from runs import assert_one_sentence, assert_same_log, assert_same_training, call, exit_of, prn_arguments

import train_keypoints
import train_person
import train_prn
from mpn.config import ModelConfig
from mpn.errors import UserError
from mpn.model_directory import last_checkpoint, load_networks, save_config, weights_file
from mpn.training.callbacks import ResumablePlateau
from mpn.training.loop import _restored_state
from mpn.training.options import MAY_CHANGE, options_to_store, parse
from mpn.training.prn import prn_parser
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
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            file.attrs["mpn"] = json.dumps(notes)
        return tmp_path / "model"

    return write


FLAGS = {
    "keypoints": "--backbone mobilenet_v2 --width 0.5 --no-int --image-size 64 --inference-size 96 --scale 0.7 1.3 "
    "--refiner --partial p --average 0.9 --epochs 7 --learning-rate 0.01 --seed 3",
    "person": "--image-size 64 96 --mirror 0 --scale 0.8 1.2 --colour 0.1 --limit 3 --validation train",
    "prn": "--design best --nodes 16 --no-residual-gain --curriculum --annotations a.json --schedule plateau",
}


@pytest.mark.parametrize("stage", STAGES)
def test_resume_alone_gives_the_options_of_the_run(stage, parsed, checkpoint, monkeypatch):
    monkeypatch.delenv("MPN_COCO", raising=False)
    first = parsed(stage, "--coco", "c", *FLAGS[stage].split())
    stored = options_to_store(first)
    model = checkpoint(stage, options=stored)
    monkeypatch.setenv("MPN_COCO", "elsewhere")
    resumed = parsed(stage, "--model", model, "--resume")
    assert options_to_store(resumed) == stored and resumed.resume and resumed.model == str(model)
    again = parsed(stage, "--model", model, "--resume", "--coco", "c", *FLAGS[stage].split())
    assert options_to_store(again) == stored


@pytest.mark.parametrize(
    ("stage", "flags", "words"),
    [
        ("keypoints", "--backbone resnet101", "with --backbone mobilenet_v2, not --backbone resnet101"),
        ("keypoints", "--dilated", "with no --dilated, not --dilated"),
        ("keypoints", "--no-concat --width=1", "with --width 0.5 and no --no-concat, not --width 1.0 and --no-concat"),
        ("keypoints", "--inference-size 64 128", "--inference-size 96 160, not --inference-size 64 128"),
        ("keypoints", "--scale 0.7 1.4", "--scale 0.7 1.3, not --scale 0.7 1.4"),
        ("keypoints", "--batch-size 9", "--batch-size 8, not --batch-size 9"),
        ("person", "--image-size 128", "--image-size 64 96, not --image-size 128 213"),
        ("person", "--limit 4", "--limit 3, not --limit 4"),
        ("person", "--average 0.5", "no --average, not --average 0.5"),
        ("prn", "--nodes 32", "--nodes 16, not --nodes 32"),
        ("prn", "--design compact", "--design best, not --design compact"),
        (
            "prn",
            "--residual-gain --no-curriculum",
            "--no-residual-gain and --curriculum, not --residual-gain and",
        ),
    ],
)
def test_what_differs_is_refused_by_name_with_both_values(stage, flags, words, parsed, checkpoint):
    model = checkpoint(stage, options=options_to_store(parsed(stage, *FLAGS[stage].split())))
    with pytest.raises(UserError) as caught:
        parsed(stage, "--model", model, "--resume", *flags.split())
    assert words in str(caught.value) and str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_no_harm_may_change(parsed, checkpoint):
    flags = FLAGS["keypoints"].split()
    model = checkpoint("keypoints", options=options_to_store(parsed("keypoints", *flags)))
    changes = (
        "--epochs 9 --learning-rate 1e-5 --precision mixed_bfloat16 --workers 1 --cache-images --coco d --partial q"
    )
    options = parsed("keypoints", "--model", model, "--resume", *changes.split())
    assert (options.epochs, options.learning_rate, options.workers, options.coco) == (9, 1e-5, 1, "d")
    assert (options.width, options.seed) == (0.5, 3)
    assert {"epochs", "learning_rate", "workers", "coco", "partial"} <= set(MAY_CHANGE)


def test_data_of_a_kind_that_the_run_had_not_are_refused(parsed, checkpoint):
    model = checkpoint("keypoints", options=options_to_store(parsed("keypoints")))
    with pytest.raises(UserError, match="no --partial, not --partial"):
        parsed("keypoints", "--model", model, "--resume", "--partial", "p")


def test_runs_from_before_options_were_stored_go_by_their_notes_and_config(parsed, checkpoint):
    notes = {"schedule": "cosine", "design": None, "learning_rate": 0.02, "settings": {"validation": "train"}}
    model = checkpoint("prn", **notes)
    save_config(ModelConfig(prn_nodes=16, prn_dropout=0.3), model)
    options = parsed("prn", "--model", model, "--resume", "--batch-size", "7")
    assert (options.nodes, options.dropout, options.schedule, options.learning_rate) == (16, 0.3, "cosine", 0.02)
    assert (options.batch_size, options.validation) == (7, "train")
    for flags, words in (("--nodes 32", "--nodes 16, not --nodes 32"), ("--schedule plateau", "--schedule cosine")):
        with pytest.raises(UserError, match=words):
            parsed("prn", "--model", model, "--resume", *flags.split())


def test_a_run_from_before_options_were_stored_needs_its_design(parsed, checkpoint):
    model = checkpoint("prn", schedule="cosine", design="best", learning_rate=0.001)
    save_config(ModelConfig(prn_nodes=16), model)
    for flags in ((), ("--design", "compact")):
        with pytest.raises(UserError, match="was trained with --design best: pass that"):
            parsed("prn", "--model", model, "--resume", *flags)
    options = parsed("prn", "--model", model, "--resume", "--design", "best")
    assert (options.design, options.loss, options.box_jitter, options.nodes) == ("best", "cross-entropy", 0.1, 16)


@pytest.mark.parametrize(
    ("stage", "stored"),
    [
        *(
            ("prn", {name: "x"})
            for name in ("nodes", "dropout", "curriculum", "design", "loss", "pool", "learning_rate")
        ),
        *(("prn", stored) for stored in ({"nodes": None}, {"nodes": [8]}, {"seed": True}, {"coco": 3}, {"margin": 7})),
        *(("person", {"image_size": size}) for size in (64, [64], [64, "96"], [64, 96, 96], {})),
        *(("keypoints", {"scale": scale}) for scale in (1.0, [1.0], [1, None])),
    ],
)
def test_stored_options_of_another_type_are_refused(stage, stored, parsed, checkpoint):
    model = checkpoint(stage, options=stored)
    with pytest.raises(UserError, match="holds no options of a run"):
        parsed(stage, "--model", model, "--resume")


def test_settings_that_are_none_are_refused(parsed, checkpoint):
    with pytest.raises(UserError, match="holds no options of a run"):
        parsed("prn", "--model", checkpoint("prn", settings=[3]), "--resume")


def test_notes_are_not_believed_before_their_checksum(parsed, checkpoint):
    model = checkpoint("prn", options={"nodes": 16})
    with h5py.File(last_checkpoint(model, "prn"), "r+") as file:
        file.attrs["mpn_sha256"] = "0" * 64
    with pytest.raises(UserError, match="not those that were written"):
        parsed("prn", "--model", model, "--resume", "--nodes", "32")


def test_an_old_best_loss_of_stage_2_does_not_count(capsys):
    plateau = ResumablePlateau(3, 1e-7)
    old = {"best": 0.5, "wait": 1, "cooldown_counter": 0}
    notes = {"state": {"epoch": 1, "samples": 4, "best": 0.5, "plateau": old}}
    for stored, best in (({**notes, "options": {}}, 0.5), (notes, math.inf)):
        assert _restored_state(json.loads(json.dumps(stored)), "last", "person", plateau)["best"] == best
        assert ("older version" in capsys.readouterr().out) == (best == math.inf)
    plateau.on_train_begin()
    assert plateau.memory() == {**old, "best": None}


@pytest.mark.parametrize(
    "memory", [{}, {"best": 1.0, "wait": 0}, {"best": "1", "wait": 0, "cooldown_counter": 0}, {"params": 3}]
)
def test_a_schedule_without_its_memory_is_refused(memory):
    state = {"epoch": 1, "samples": 4, "best": 0.5, "plateau": memory}
    with pytest.raises(UserError, match="last holds no state of a run"):
        _restored_state({"state": state, "options": {}}, "last", "prn", ResumablePlateau(3, 1e-7))


def test_a_new_run_takes_nothing_from_an_old_one(checkpoint):
    model = checkpoint("prn", options={"nodes": 16})
    assert parse(prn_parser(None, []), ["--model", str(model)]).nodes == 1024


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
