"""One stage's training run: progress, logs, validation, checkpoints and resuming."""

import dataclasses
import json
import math
import pathlib
import re

import keras
import tensorflow as tf

from mpn.errors import UserError
from mpn.files import atomic_path
from mpn.models.weights import load_weights, read_notes
from mpn.training.callbacks import Checkpoints, CosineSchedule, ResumablePlateau, StopOnNonFiniteLoss
from mpn.training.distribution import Adam

# Options that change what a validation loss means: losses before and after cannot be compared.
_VALIDATION_SETTINGS = (
    "validation",
    "hold_out",
    "limit",
    "image_size",
    "framing",
    "person_share",
    "enlargement",
    "refiner",
    "sigma",
    "foreground",
    "silhouette_weight",
    "loss",
    "margin",
    "average",
)


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


def run_folder(model_dir, stage_name):
    """Folder of a stage's logs and checkpoint in a model directory."""
    return pathlib.Path(model_dir) / "training" / stage_name


def last_checkpoint(model_dir, stage_name):
    """Path of a stage's resumable state."""
    return run_folder(model_dir, stage_name) / "last.weights.h5"


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
    directory; calls `stage.save_best` after each epoch with the best validation loss so far.

    Args:
        stage: Stage.
        options: the namespace of `mpn.training.options`.

    Raises:
        UserError: too few samples for a batch, or a checkpoint that does not fit.
        FloatingPointError: a non-finite loss, with the step.
    """
    folder = run_folder(options.model, stage.name)
    folder.mkdir(parents=True, exist_ok=True)
    steps = options.steps_per_epoch or max(1, stage.samples // options.batch_size)
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
    learning_rate = _learning_rate(options, stage.name)
    if options.schedule == "cosine":
        schedule = CosineSchedule(learning_rate, steps, options.epochs)
    else:
        schedule = ResumablePlateau(options.plateau_patience, options.min_learning_rate)
    checkpoint = last_checkpoint(options.model, stage.name)
    settings = {name: vars(options)[name] for name in _VALIDATION_SETTINGS if name in vars(options)}
    settings = json.loads(json.dumps(settings))  # as a checkpoint gives them back
    notes = {"architecture": stage.architecture, "learning_rate": learning_rate, "settings": settings}
    notes["schedule"] = options.schedule
    notes["design"] = getattr(options, "design", None)
    state = {"epoch": 0, "samples": 0, "best": math.inf}
    if options.resume:
        stored = load_weights(stage.model, checkpoint, stage.architecture)
        state = stored["state"]
        before = stored.get("schedule", "plateau")
        if before != options.schedule:
            raise UserError(f"{checkpoint} was trained with --schedule {before}: pass that, not {options.schedule}")
        if stored.get("design") not in (None, notes["design"]):
            raise UserError(f"{checkpoint} was trained with --design {stored['design']}: pass that here, too")
        if stored.get("settings") == settings:
            schedule.restore(state["plateau"])
        else:
            print("validation is not what it was: the best loss so far does not count any more")
            state["best"] = math.inf
        _advance_dropout(stage.model)
        # The same command with --resume must not undo the schedule; another rate is meant.
        if options.learning_rate_given and options.learning_rate != stored.get("learning_rate"):
            stage.model.optimizer.learning_rate = options.learning_rate
        print(f"resuming {checkpoint} after epoch {state['epoch']}")
    if state["epoch"] >= options.epochs:
        raise UserError(f"{checkpoint} has {state['epoch']} epochs already: raise --epochs {options.epochs} to go on")
    _drop_epochs_from(state["epoch"], folder / "log.csv")
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
        # A pipeline's UserError, about an unreadable image say, arrives as text within TensorFlow's own error.
        sentence = re.search(r"UserError: (.+)", error.message or "")
        if sentence:
            raise UserError(sentence.group(1)) from error
        raise


def _learning_rate(options, stage_name):
    """The highest rate of a run: a resumed one goes on with its own where no other is asked for."""
    if options.resume and not options.learning_rate_given:
        return read_notes(last_checkpoint(options.model, stage_name)).get("learning_rate", options.learning_rate)
    return options.learning_rate


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
