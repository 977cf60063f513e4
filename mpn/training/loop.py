"""One stage's training run: progress, logs, validation, checkpoints and resuming."""

import dataclasses
import errno
import math
import os
import re

import keras
import tensorflow as tf

from mpn.errors import UserError
from mpn.files import atomic_path, make_writable
from mpn.model_directory import last_checkpoint, run_folder, weights_file
from mpn.training.callbacks import Checkpoints, CosineSchedule, ResumablePlateau, StopOnNonFiniteLoss
from mpn.training.distribution import Adam
from mpn.training.options import options_to_store
from mpn.weights import check_numbers, load_weights, needed_bytes


@dataclasses.dataclass(frozen=True)
class Stage:
    """What differs between the three stages.

    Attributes:
        name: "keypoints", "person" or "prn"; names the folder of logs.
        model: the keras.Model to train, built and not compiled.
        loss: as `keras.Model.compile` takes it.
        architecture: JSON-able dict; a checkpoint of another architecture is refused.
        samples: number of training samples in a pass.
        training_data: function of the number of samples to pass over, giving an endless tf.data.Dataset.
        validation_data: finite tf.data.Dataset.
        save_best: function without arguments that stores the weights for the next stage.
        clipnorm: largest norm of one variable's gradient, or None.
    """

    name: str
    model: keras.Model
    loss: object
    architecture: dict
    samples: int
    training_data: object
    validation_data: object
    save_best: object
    clipnorm: float | None = None


def check_fresh(options, stage_name):
    """Before anything slow: a new run must not overwrite an old one, and a resumed one needs a checkpoint.

    Raises:
        UserError: see above.
    """
    checkpoint = last_checkpoint(options.model, stage_name)
    if options.resume and not checkpoint.exists():
        raise UserError(f"nothing to resume: {checkpoint} does not exist; start without --resume")
    if not options.resume and checkpoint.exists():
        raise UserError(f"{checkpoint} exists: pass --resume to go on with that run, or choose another --model")


def train(stage, options):
    """Trains a stage to the end of `options.epochs`.

    Shows a progress bar; writes log.csv, TensorBoard events and last.weights.h5 below training/NAME of the model
    directory; calls `stage.save_best` after each epoch with the best validation loss so far. A run that has its epochs
    already is left as it is.

    Args:
        stage: Stage.
        options: the namespace of `mpn.training.options`.

    Raises:
        UserError: too few samples for a batch, or a checkpoint that does not fit.
        OSError: a file cannot be written, or the disk has no space for the checkpoint.
        FloatingPointError: a non-finite loss, with the step.
    """
    folder = run_folder(options.model, stage.name)
    steps = options.steps_per_epoch or max(1, stage.samples // options.batch_size)
    _compile(stage, options)
    make_writable(folder, needed_bytes(stage.model))
    if options.schedule == "cosine":
        schedule = CosineSchedule(options.learning_rate, steps, options.epochs)
    else:
        schedule = ResumablePlateau(options.plateau_patience, options.min_learning_rate)
    checkpoint = last_checkpoint(options.model, stage.name)
    state = {"epoch": 0, "samples": 0, "best": math.inf}
    if options.resume:
        state = _resume(stage, options, schedule)
        if state["epoch"] >= options.epochs:
            print(f"{checkpoint}: the run is finished, with epoch {state['epoch']}; raise --epochs to go on")
            return
        print(f"resuming {checkpoint} after epoch {state['epoch']}")
    _drop_epochs_from(state["epoch"], folder / "log.csv")
    notes = {"architecture": stage.architecture, "options": options_to_store(options)}
    averages = keras.callbacks.SwapEMAWeights() if options.average is not None else None  # swaps for validation
    callbacks = [
        *([averages] if averages else ()),
        StopOnNonFiniteLoss(),
        schedule,
        keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True),
        keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=0),
        # Last, so that the stored schedule and learning rate are those of the next epoch.
        Checkpoints(checkpoint, stage.save_best, schedule, steps * options.batch_size, notes, state, averages),
    ]
    try:
        stage.model.fit(
            stage.training_data(state["samples"]),
            epochs=options.epochs,
            initial_epoch=state["epoch"],
            steps_per_epoch=steps,
            validation_data=stage.validation_data,
            shuffle=False,  # the data sets shuffle themselves
            verbose=1 if options.progress else 2,
            callbacks=callbacks,
        )
    except tf.errors.OpError as error:
        raise _as_ours(error, folder) from error


def _compile(stage, options):
    with stage.model.distribute_strategy.scope():  # the optimizer's variables must be mirrored like the model's
        stage.model.compile(
            optimizer=Adam(
                options.learning_rate,
                clipnorm=stage.clipnorm,
                use_ema=options.average is not None,
                ema_momentum=options.average or 0.0,
            ),
            loss=stage.loss,
            jit_compile=False,  # XLA would compile anew for every image shape, and hides oneDNN's bfloat16
        )
        stage.model.optimizer.build(stage.model.trainable_variables)


def _resume(stage, options, schedule):
    """Loads the last checkpoint into a stage's model and its schedule.

    Returns:
        dict, the run's state: "epoch", "samples" and "best".
    """
    checkpoint = last_checkpoint(options.model, stage.name)
    stored = load_weights(stage.model, checkpoint, stage.architecture)
    state = _restored_state(stored, checkpoint, stage.name, schedule)
    _advance_dropout(stage.model)
    precisions = {options.precision, stored.get("options", {}).get("precision", options.precision)}
    if len(precisions) > 1 and "mixed_float16" in precisions:  # Keras wraps it, and skips a state that does not fit
        print("the optimizer begins anew: that of --precision mixed_float16 has another state")
    # The same rate must not undo the schedule; another one is meant.
    before = stored.get("options", stored).get("learning_rate")
    if options.learning_rate != before:
        stage.model.optimizer.learning_rate = options.learning_rate
    try:
        check_numbers(weights_file(options.model, stage.name))
    except UserError:  # the best weights were lost or damaged: the last stand in for them
        stage.save_best()
    return state


def _restored_state(stored, checkpoint, stage_name, schedule):
    """The state in a checkpoint's notes; the schedule takes over its part.

    Raises:
        UserError: it is not what `Checkpoints` stores.
    """
    kinds = {"epoch": int, "samples": int, "best": float, "plateau": dict}
    state = stored.get("state")
    try:
        if not isinstance(state, dict) or any(type(state.get(name)) is not kind for name, kind in kinds.items()):
            raise ValueError("no state")
        if stage_name == "person" and "options" not in stored:
            print(f"{checkpoint} is of an older version, which measured losses otherwise: its best loss does not count")
            state |= {"best": math.inf, "plateau": state["plateau"] | {"best": None}}
        schedule.restore(state["plateau"])
    except ValueError as error:
        raise UserError(f"{checkpoint} holds no state of a run: it is no checkpoint, or damaged") from error
    return state


def _as_ours(error, folder):
    """A TensorFlow error as the error that lies behind it, if one does."""
    # A pipeline's UserError, about an unreadable image say, arrives as text within TensorFlow's own error.
    message = error.message or ""
    if sentence := re.search(r"UserError: (.+)", message):
        return UserError(sentence.group(1))
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EROFS):  # from TensorBoard's writer
        if os.strerror(number) in message:
            return OSError(number, os.strerror(number), str(folder))
    return error


def _advance_dropout(model):
    """Moves dropout on to the step that the optimizer is at: Keras stores no random state with the weights."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            state = layer.seed_generator.state
            state.assign([int(state.numpy()[0]), int(model.optimizer.iterations.numpy())])


def _drop_epochs_from(epoch, log):
    """Removes the lines of a CSV log that `fit` will write again: of a run killed between its log and checkpoint."""
    if not log.exists():
        return
    lines = log.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[1:] if line.split(b",")[0].isdigit() and int(line.split(b",")[0]) < epoch]
    if kept:
        with atomic_path(log) as temporary:
            temporary.write_bytes(b"".join([lines[0], *kept]))
    else:
        log.unlink()
