"""The cosine schedule: its rates, resuming with it; and the designs of the PRN, as `train_prn.py` sets them."""

import json
import shutil

import keras
import numpy as np
import pytest
from runs import (
    assert_one_sentence,
    assert_same_log,
    assert_same_training,
    call,
    exit_of,
    log_of,
    prn_arguments,
    state_of,
)

import train_prn
from mpn.config import ModelConfig
from mpn.model_directory import last_checkpoint, load_config, load_networks
from mpn.training.callbacks import CosineSchedule, StopOnNonFiniteLoss
from mpn.weights import read_notes

# --- rates


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        # 200 steps, the first 4 of them to warm up: 1/5, 2/5, 3/5, 4/5, and then 0.01 + 0.99 (1 + cos(pi p)) / 2
        # where p is the share of the other 196 that is done.
        (0, 0.2),
        (1, 0.4),
        (3, 0.8),
        (4, 1.0),
        (53, 0.855017857),  # p = 1/4, cos = 0.707106781
        (102, 0.505),  # p = 1/2
        (151, 0.154982143),  # p = 3/4
        (199, 0.010063582),  # p = 195/196, cos = -0.999871556
        (200, 0.01),
        (999, 0.01),
    ],
)
def test_rates_worked_out_by_hand(step, rate):
    assert CosineSchedule(1.0, 20, 10).rate(step) == pytest.approx(rate, abs=1e-8)
    assert CosineSchedule(3e-4, 40, 5).rate(step) == pytest.approx(3e-4 * rate, rel=1e-6)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (1, 2), (7, 9), (300, 40)])
def test_rates_rise_to_the_highest_and_then_fall(steps, epochs):
    schedule = CosineSchedule(0.5, steps, epochs)
    rates = np.array([schedule.rate(step) for step in range(steps * epochs)])
    top = rates.argmax()
    assert (rates > 0).all() and rates.max() <= 0.5
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert top <= 0.02 * steps * epochs + 1
    if len(rates) > 60:
        assert rates.max() > 0.499 and rates[-1] < 0.006


def slope(y_true, y_pred):
    """A loss whose gradient with respect to the one weight below is 1: each step lowers it by the learning rate."""
    return y_pred[:, 0]


class Weight(keras.callbacks.Callback):
    """Notes the weight after each batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(self.model.weights[0].numpy()[0, 0]))


@pytest.mark.parametrize("first", [0, 2])
def test_steps_are_taken_at_the_rates(first):
    """Of epoch `first` and on: a resumed run begins in the middle of the curve."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.7), slope)
    model.set_weights([np.zeros((1, 1))])
    weight, schedule = Weight(), CosineSchedule(0.1, 5, 4)
    history = model.fit(
        *(np.ones((5, 1)), np.ones((5, 1))),
        **{"batch_size": 1, "epochs": 4, "initial_epoch": first, "verbose": 0, "callbacks": [schedule, weight]},
    )
    # 20 steps: the warm-up is 0.4 of one, so that step 0 has 1 / 1.4 of the rate.
    steps = np.arange(20)
    rates = 0.1 * (0.01 + 0.99 * (1 + np.cos(np.pi * (steps - 0.4) / 19.6)) / 2)
    rates[0] = 0.1 / 1.4
    np.testing.assert_allclose(-np.diff([0, *weight.values]), rates[5 * first :], atol=1e-6)
    np.testing.assert_allclose(history.history["learning_rate"], rates[4::5][first:], rtol=1e-5)


# --- runs


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the run catches it."""


def killed_at(monkeypatch, epoch, step):
    """Makes the next run end in the given epoch after the given step, both counted from 0."""
    original = StopOnNonFiniteLoss.on_train_batch_end

    def end(self, batch, logs=None):
        original(self, batch, logs)
        if (self.epoch, batch) == (epoch, step):
            raise Killed

    monkeypatch.setattr(StopOnNonFiniteLoss, "on_train_batch_end", end)


def cosine_arguments(coco, model, *more):
    return prn_arguments(model, "--coco", coco, "--schedule", "cosine", "--learning-rate", 0.01, *more)


@pytest.fixture(scope="module")
def straight(synthetic_coco, tmp_path_factory):
    """A model directory after four epochs with the cosine schedule; tests must not change it."""
    model = tmp_path_factory.mktemp("straight") / "model"
    call(train_prn, cosine_arguments(synthetic_coco, model, "--epochs", 4))
    return model


def test_the_log_has_the_rates_of_the_curve(straight):
    # Eight steps, two an epoch; the warm-up is 0.16 of one. The log has the last one's of each epoch.
    expected = [0.01 * (0.01 + 0.99 * (1 + np.cos(np.pi * (step - 0.16) / 7.84)) / 2) for step in (1, 3, 5, 7)]
    assert [float(row["learning_rate"]) for row in log_of(straight, "prn")] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("epoch", "step"), [(1, 0), (3, 1)])
def test_a_killed_run_with_the_cosine_schedule_goes_on_as_if_nothing_was(
    synthetic_coco, straight, tmp_path, monkeypatch, epoch, step
):
    arguments = cosine_arguments(synthetic_coco, tmp_path / "model", "--epochs", 4)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        killed_at(patch, epoch, step)
        call(train_prn, arguments)
    assert state_of(tmp_path / "model", "prn")["epoch"] == epoch
    call(train_prn, [*arguments, "--resume"])
    assert_same_log(straight, tmp_path / "model", "prn")
    assert_same_training(last_checkpoint(straight, "prn"), last_checkpoint(tmp_path / "model", "prn"))
    first, second = state_of(straight, "prn"), state_of(tmp_path / "model", "prn")
    for key in ("best", "epoch", "samples"):
        assert second[key] == pytest.approx(first[key], rel=1e-4)


def test_the_cosine_schedule_is_another_run_than_the_plateau(synthetic_coco, straight, tmp_path):
    model = tmp_path / "model"
    call(train_prn, prn_arguments(model, "--coco", synthetic_coco, "--learning-rate", 0.01, "--epochs", 2))
    rows = log_of(model, "prn")
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.01, 0.01])
    assert rows[1]["loss"] != log_of(straight, "prn")[1]["loss"]
    assert read_notes(last_checkpoint(model, "prn"))["options"]["schedule"] == "plateau"


@pytest.mark.parametrize(("before", "after"), [("plateau", "cosine"), ("cosine", "plateau")])
def test_another_schedule_is_not_resumed(synthetic_coco, straight, tmp_path, capsys, before, after):
    model = tmp_path / "model"
    if before == "cosine":
        shutil.copytree(straight, model)
    else:
        call(train_prn, prn_arguments(model, "--coco", synthetic_coco, "--epochs", 1))
    stored = last_checkpoint(model, "prn").read_bytes()
    arguments = prn_arguments(model, "--coco", synthetic_coco, "--epochs", 9, "--schedule", after, "--resume")
    code, error = exit_of(train_prn, arguments, capsys)
    assert code == 1 and f"--schedule {before}" in error
    assert_one_sentence(error)
    assert last_checkpoint(model, "prn").read_bytes() == stored


def test_another_design_is_not_resumed(synthetic_coco, tmp_path, capsys):
    model = tmp_path / "model"
    shared = ["--coco", synthetic_coco, "--schedule", "plateau"]
    call(train_prn, prn_arguments(model, *shared, "--epochs", 1, "--design", "compact"))
    best = (model / "prn.weights.h5").read_bytes()
    more = ("--epochs", 2, "--resume", "--design", "best")
    code, error = exit_of(train_prn, prn_arguments(model, *shared, *more), capsys)
    assert code == 1 and "with --design compact, not --design best" in error
    assert_one_sentence(error)
    assert (model / "prn.weights.h5").read_bytes() == best


def test_a_cosine_of_another_length_is_announced(straight, tmp_path, synthetic_coco, capsys):
    shutil.copytree(straight, tmp_path / "model")
    call(train_prn, cosine_arguments(synthetic_coco, tmp_path / "model", "--epochs", 5, "--resume"))
    assert "the learning rate jumps" in capsys.readouterr().out


def test_unknown_schedules_exit_with_2(capsys):
    code, error = exit_of(train_prn, ["--schedule", "linear"], capsys)
    assert code == 2 and "linear" in error


# --- designs


@pytest.fixture
def planned(synthetic_coco, tmp_path, monkeypatch):
    """Function of flags, giving the stage and the options that `train_prn.py` would train, and its config.json."""

    def plan(*flags):
        stages = []
        with monkeypatch.context() as patch:
            patch.setattr("mpn.training.prn.train", lambda *planned: stages.append(planned))
            model = tmp_path / f"model_{len(list(tmp_path.iterdir()))}"
            call(train_prn, ["--coco", synthetic_coco, "--model", model, "--batch-size", 4, *flags])
        ((stage, options),) = stages
        stage.save_best()
        return stage, options, load_config(model)

    return plan


BEST = {
    "prn_nodes": 1024,
    "prn_layers": 1,
    "prn_dropout": 0.3,
    "prn_residual": True,
    "prn_margin": 0.5,
    "prn_pool": 4,
    "prn_residual_gain": True,
    "prn_window": 11,
    "prn_assignment": "optimal",
}


@pytest.mark.parametrize(
    ("design", "changes"), [("best", {}), ("compact", {"prn_nodes": 512, "prn_dropout": 0.0})], ids=["best", "compact"]
)
def test_a_design_is_what_is_trained_and_stored(planned, design, changes):
    stage, options, config = planned("--design", design)
    assert config == ModelConfig().replace(**BEST | changes)
    nodes = config.prn_nodes
    # 2142 pooled cells in and out, and 17 gains.
    assert stage.model.count_params() == 2142 * nodes + nodes + nodes * 2142 + 2142 + 17
    assert stage.loss.__name__ == "prn_cross_entropy"
    assert (options.schedule, options.learning_rate) == ("cosine", 1e-3)
    assert (options.curriculum, options.box_jitter, options.mirror) == (False, 0.1, 0.5)
    assert stage.architecture["prn_pool"] == 4 and stage.architecture["prn_residual_gain"] is True


def test_a_design_is_written_by_a_real_run(synthetic_coco, tmp_path):
    model = tmp_path / "model"
    arguments = ["--coco", synthetic_coco, "--model", model, "--design", "compact", "--batch-size", 4]
    call(train_prn, [*arguments, "--steps-per-epoch", 1, "--epochs", 1, "--nodes", 8])
    stored = json.loads((model / "config.json").read_text())
    expected = BEST | {"prn_nodes": 8, "prn_dropout": 0.0}
    assert {name: stored[name] for name in expected} == expected
    assert load_networks(model, ("prn",)).prn.count_params() == 2 * 2142 * 8 + 8 + 2142 + 17
    options = read_notes(last_checkpoint(model, "prn"))["options"]
    assert (options["schedule"], options["learning_rate"]) == ("cosine", 1e-3)


def test_the_paper_is_the_default_design(planned):
    flags = ("--nodes", 8)  # the paper's own 1024 would take 280 MB
    for chosen in (flags, (*flags, "--design", "paper")):
        stage, options, config = planned(*chosen)
        assert config == ModelConfig().replace(prn_nodes=8)
        assert stage.loss.__name__ == "prn_binary_cross_entropy"
        assert (options.schedule, options.learning_rate) == ("plateau", 1e-4)
        assert (options.curriculum, options.box_jitter, options.mirror) == (True, 0, 0)


def test_flags_override_the_design_wherever_they_stand(planned):
    flags = (
        *("--nodes", 8, "--pool", 2, "--no-residual-gain", "--margin", 0.25),
        *("--loss", "bce", "--schedule", "plateau", "--learning-rate", 0.02, "--curriculum", "--mirror", 0),
    )
    expected = BEST | {
        **{"prn_nodes": 8, "prn_pool": 2, "prn_residual_gain": False, "prn_margin": 0.25},
    }
    for arguments in ((*flags, "--design", "best"), ("--design=best", *flags)):
        stage, options, config = planned(*arguments)
        assert config == ModelConfig().replace(**expected)
        assert stage.loss.__name__ == "prn_binary_cross_entropy"
        assert (options.schedule, options.learning_rate) == ("plateau", 0.02)
        assert (options.curriculum, options.mirror, options.box_jitter) == (True, 0, 0.1)  # the last as designed


def test_unknown_designs_exit_with_2(capsys):
    code, error = exit_of(train_prn, ["--design", "worst"], capsys)
    assert code == 2 and "worst" in error and "compact" in error


def test_imperfections_are_for_training_alone(planned):
    def batches(*flags):
        stage = planned("--nodes", 4, *flags)[0]
        data = stage.data(stage.training), stage.data(stage.validation, training=False)
        return [next(iter(batches.as_numpy_iterator())) for batches in data]

    (plain, validation), (other, same) = batches(), batches("--imperfections", 0.5, 0, 0.5, 1)
    for one, two in zip(validation, same, strict=True):
        np.testing.assert_array_equal(one, two)
    assert other[0].sum() > 1.2 * plain[0].sum()  # false peaks
    assert np.abs(other[1] - plain[1]).max() > 0.02  # moved labels
    dropped = batches("--imperfections", 0, 0.5, 0, 0.5)[0]
    np.testing.assert_array_equal(dropped[1], plain[1])
    assert dropped[0].sum() < 0.6 * plain[0].sum()
