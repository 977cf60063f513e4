"""The training loop of every stage: progress, logs, validation, checkpoints and resuming."""

import dataclasses
import errno
import math
import os
import re
import sys

import keras
import tensorflow as tf

from mpn.errors import UserError
from mpn.files import atomic_path, make_writable
from mpn.model_directory import last_checkpoint, run_folder, weights_file
from mpn.training.callbacks import Checkpoints, CosineSchedule, ResumablePlateau, StopOnNonFiniteLoss
from mpn.training.distribution import Adam
from mpn.training.settings import to_store
from mpn.weights import check_numbers, load_weights, needed_bytes


@dataclasses.dataclass(frozen=True)
class Stage:
    """What `train` needs to know of a stage."""

    model: keras.Model  # built, not compiled
    loss: object  # for keras.Model.compile
    architecture: dict  # for JSON; a checkpoint with another one is refused
    data: object  # function of samples, `first` and `training` that returns batches, such as `keypoint_dataset`
    training: object  # samples, with a length
    validation: object
    save_best: object  # function without arguments that stores the weights for the next stage
    clipnorm: float | None = None  # largest norm of the gradient of one variable


def check_fresh(settings):
    """Raises UserError if a new run would overwrite an old one. Called before anything slow."""
    checkpoint = last_checkpoint(settings.model, settings.stage)
    if not settings.resume and checkpoint.exists():
        raise UserError(f"{checkpoint} exists: pass --resume to go on with that run, or choose another --model")


def train(stage, settings):
    """Trains a Stage up to `settings.epochs` (`Training`). A run that already has all its epochs stays as it is.

    Shows progress, and writes log.csv, TensorBoard events and last.weights.h5 to training/STAGE of the model directory.
    Calls `stage.save_best` after each epoch whose validation loss is the best so far.

    Raises UserError for a checkpoint that does not fit, OSError if a file cannot be written or the disk has no space
    for the checkpoint, and FloatingPointError for a non-finite loss.
    """
    folder = run_folder(settings.model, settings.stage)
    steps = settings.steps_per_epoch or max(1, len(stage.training) // settings.batch_size)
    _compile(stage, settings)
    make_writable(folder, needed_bytes(stage.model))
    if settings.schedule == "cosine":
        schedule = CosineSchedule(settings.learning_rate, steps, settings.epochs)
    else:
        schedule = ResumablePlateau()
    checkpoint = last_checkpoint(settings.model, settings.stage)
    state = {"epoch": 0, "samples": 0, "best": math.inf}
    if settings.resume:
        state = _resume(stage, settings, schedule)
        if state["epoch"] >= settings.epochs:
            print(f"{checkpoint}: the run is finished, with epoch {state['epoch']}; raise --epochs to go on")
            return
        print(f"resuming {checkpoint} after epoch {state['epoch']}")
    _drop_epochs_from(state["epoch"], folder / "log.csv")
    notes = {"architecture": stage.architecture, "options": to_store(settings)}
    averages = keras.callbacks.SwapEMAWeights() if settings.average is not None else None
    callbacks = [
        *([averages] if averages else ()),
        StopOnNonFiniteLoss(),
        schedule,
        keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=0),
        # Last, so that it stores the schedule and learning rate of the next epoch.
        Checkpoints(checkpoint, stage.save_best, schedule, steps * settings.batch_size, notes, state, averages),
    ]
    try:
        stage.model.fit(
            stage.data(stage.training, first=state["samples"]),
            epochs=settings.epochs,
            initial_epoch=state["epoch"],
            steps_per_epoch=steps,
            validation_data=stage.data(stage.validation, training=False),
            shuffle=False,  # the data sets shuffle themselves
            verbose=1 if sys.stdout.isatty() else 2,
            callbacks=callbacks,
        )
    except tf.errors.OpError as error:
        raise _as_ours(error, folder) from error


def _compile(stage, settings):
    with stage.model.distribute_strategy.scope():  # mirrors the optimizer's variables too
        stage.model.compile(
            optimizer=Adam(
                settings.learning_rate,
                clipnorm=stage.clipnorm,
                use_ema=settings.average is not None,
                ema_momentum=settings.average or 0.0,
            ),
            loss=stage.loss,
            jit_compile=False,  # XLA compiles anew for each image shape, and does not use oneDNN's bfloat16
        )
        stage.model.optimizer.build(stage.model.trainable_variables)


def _resume(stage, settings, schedule):
    """Loads the last checkpoint into model and schedule; returns the run's "epoch", "samples" and "best"."""
    checkpoint = last_checkpoint(settings.model, settings.stage)
    stored = load_weights(stage.model, checkpoint, stage.architecture)
    state = _restored_state(stored, checkpoint, schedule)
    _advance_dropout(stage.model)
    precisions = {settings.precision, stored["options"].get("precision", settings.precision)}
    if len(precisions) > 1 and "mixed_float16" in precisions:  # Keras wraps the optimizer
        print("the optimizer begins anew: that of --precision mixed_float16 has another state")
    # An unchanged option must not undo the schedule.
    if settings.learning_rate != stored["options"].get("learning_rate"):
        stage.model.optimizer.learning_rate = settings.learning_rate
    try:
        check_numbers(weights_file(settings.model, settings.stage))
    except UserError:  # lost or damaged: take the last weights instead
        stage.save_best()
    return state


def _restored_state(stored, checkpoint, schedule):
    """Checks the state in the notes of a checkpoint, restores the schedule and returns the state."""
    kinds = {"epoch": int, "samples": int, "best": float, "plateau": dict}
    state = stored.get("state")
    try:
        if not isinstance(state, dict) or any(type(state.get(name)) is not kind for name, kind in kinds.items()):
            raise ValueError("no state")
        schedule.restore(state["plateau"])
    except ValueError as error:
        raise UserError(f"{checkpoint} holds no state of a run: it is no checkpoint, or damaged") from error
    return state


def _as_ours(error, folder):
    """Translates a TensorFlow error into the UserError or OSError behind it, if there is one."""
    # TensorFlow passes on a UserError of the input pipeline, such as for a damaged image, as text.
    message = error.message or ""
    if sentence := re.search(r"UserError: (.+)", message):
        return UserError(sentence.group(1))
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS):  # TensorBoard's writer
        if os.strerror(number) in message:
            return OSError(number, os.strerror(number), str(folder))
    return error


def _advance_dropout(model):
    """Sets dropout's random state by the optimizer's step, since Keras does not store it with the weights."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            state = layer.seed_generator.state
            state.assign([int(state.numpy()[0]), int(model.optimizer.iterations.numpy())])


def _drop_epochs_from(epoch, log):
    """Removes lines of a CSV log that `fit` will write again. The run was killed between log and checkpoint."""
    if not log.exists():
        return
    lines = log.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[1:] if line.split(b",")[0].isdigit() and int(line.split(b",")[0]) < epoch]
    if kept:
        with atomic_path(log) as temporary:
            temporary.write_bytes(b"".join([lines[0], *kept]))
    else:
        log.unlink()
