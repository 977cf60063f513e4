"""The training loop of every stage: progress, logs, validation, checkpoints and resuming."""

import dataclasses
import errno
import math
import os
import re
import sys

import keras
import tensorflow as tf

from mpn import kinds
from mpn.data.order import Part
from mpn.errors import UserError
from mpn.files import atomic_path, make_writable
from mpn.model_directory import last_checkpoint, run_folder, weights_file
from mpn.settings import SettingsError, options_of
from mpn.training.callbacks import Checkpoints, CosineSchedule, ResumablePlateau, StopOnNonFiniteLoss
from mpn.training.cluster import check_agreement, read_cluster, together
from mpn.training.distribution import Adam, batches_on_devices
from mpn.training.settings import to_store
from mpn.training.steps import Steps
from mpn.weights import check_numbers, load_weights, needed_bytes

# The loss is read after the first steps of an epoch and then now and again: reading it waits for the devices.
_LOOK_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Stage:
    """What `train` needs to know of a stage."""

    model: keras.Model  # built, not compiled
    loss: object  # for `Steps`
    architecture: dict  # for JSON; a checkpoint with another one is refused
    data: object  # function of samples, `part` and `training` that returns batches, such as `keypoint_dataset`
    training: object  # samples, with a length
    validation: object
    save_best: object  # function without arguments that stores the weights for the next stage
    clipnorm: float | None = None  # largest norm of the gradient of one variable
    fixed_size: bool = True  # whether all images have the same size


def check_fresh(settings):
    """Raises UserError if a new run would overwrite an old one. Called before anything slow."""
    checkpoint = last_checkpoint(settings.model, settings.stage)
    if not settings.resume and checkpoint.exists():
        raise UserError(f"{checkpoint} exists: pass --resume to go on with that run, or choose another --model")


def train(stage, settings):
    """Trains a Stage up to `settings.epochs` (`Training`). A run that already has all its epochs stays as it is.

    Shows progress, and writes log.csv, TensorBoard events and last.weights.h5 to training/STAGE of the model directory.
    Calls `stage.save_best` after each epoch whose validation loss is the best so far. If several hosts train, all call
    this function, and only the first of them writes.

    Raises UserError for a checkpoint that does not fit and if another host fails, OSError if a file cannot be written
    or the disk has no space for the checkpoint, and FloatingPointError for a non-finite loss.
    """
    cluster = read_cluster()
    with together(cluster):
        _train(stage, settings, cluster)


def _train(stage, settings, cluster):
    writes = cluster.is_chief
    folder = run_folder(settings.model, settings.stage)
    steps = settings.steps_per_epoch or max(1, len(stage.training) // settings.batch_size)
    _compile(stage, settings)
    if writes:
        make_writable(folder, needed_bytes(stage.model))
    cosine = settings.schedule == "cosine"
    schedule = CosineSchedule(settings.learning_rate, steps, settings.epochs) if cosine else ResumablePlateau()
    checkpoint = last_checkpoint(settings.model, settings.stage)
    state = {"epoch": 0, "samples": 0, "best": math.inf}
    if settings.resume:
        state = _resume(stage, settings, schedule, writes)
        if state["epoch"] >= settings.epochs:
            print(f"{checkpoint}: the run is finished, with epoch {state['epoch']}; raise --epochs to go on")
            return
        print(f"resuming {checkpoint} after epoch {state['epoch']}")
    check_agreement(cluster, _facts(stage, settings, state))
    _seed_dropout(stage.model)
    notes = {"architecture": stage.architecture, "options": to_store(settings)}
    averages = keras.callbacks.SwapEMAWeights() if settings.average is not None else None
    step = Steps(stage.model, stage.loss, settings.batch_size, _is_compiled(stage, settings))
    callbacks = [
        *([averages] if averages else ()),
        StopOnNonFiniteLoss(step.first_bad),
        schedule,
        *(_logs(folder, state["epoch"]) if writes else ()),
        # Last, so that it stores the schedule and learning rate of the next epoch.
        Checkpoints(checkpoint, stage.save_best, schedule, steps * settings.batch_size, notes, state, averages, writes),
    ]
    try:
        _run_epochs(stage, step, steps, range(state["epoch"], settings.epochs), state["samples"], callbacks, writes)
    except tf.errors.OpError as error:
        raise _as_ours(error, folder) from error


def _run_epochs(stage, step, steps, epochs, first, callbacks, shown):
    """Trains for a range of epochs of `steps` steps, from sample number `first` on; `shown` prints the progress."""

    def batches(samples, first=0, **options):
        def of_host(host, hosts):
            return stage.data(samples, part=Part(first, host, hosts), **options)

        return batches_on_devices(stage.model.distribute_strategy, of_host, step.batch_size)

    callbacks = keras.callbacks.CallbackList(
        callbacks,
        add_progbar=shown,
        model=stage.model,
        verbose=1 if sys.stdout.isatty() else 2,
        epochs=epochs.stop,
        steps=steps,
    )
    training, validation = batches(stage.training, first), None
    callbacks.on_train_begin()
    for epoch in epochs:
        callbacks.on_epoch_begin(epoch)
        step.restart()
        for number in range(steps):
            callbacks.on_train_batch_begin(number)
            step.train(training)
            seen = number < _LOOK_EVERY or number % _LOOK_EVERY == 0 or number == steps - 1
            callbacks.on_train_batch_end(number, step.losses() if seen else None)
        losses = step.losses()
        step.average_statistics()
        callbacks.on_test_begin()
        step.restart()
        validation = validation or batches(stage.validation, training=False)
        for number, place in enumerate(range(0, len(stage.validation), step.batch_size)):
            callbacks.on_test_batch_begin(number)
            step.validate(validation, len(stage.validation) - place)
            callbacks.on_test_batch_end(number)
        validated = step.losses()
        callbacks.on_test_end(validated)
        callbacks.on_epoch_end(epoch, losses | {f"val_{name}": loss for name, loss in validated.items()})
    callbacks.on_train_end()


def _facts(stage, settings, state):
    """Facts about a run that are the same on all hosts."""
    fields = options_of(settings).items()
    options = {name: getattr(settings, name) for name, field in fields if field.metadata["kind"] is not kinds.PATH}
    samples = {"training samples": len(stage.training), "validation samples": len(stage.validation)}
    return options | samples | {f"{name} of the checkpoint": value for name, value in state.items()}


def _logs(folder, epoch):
    """Callbacks that write the logs, from an epoch on."""
    _drop_epochs_from(epoch, folder / "log.csv")
    yield keras.callbacks.CSVLogger(str(folder / "log.csv"), append=True)
    yield keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=0)


def _is_compiled(stage, settings):
    """Whether XLA compiles network and gradient: "auto" does on a GPU, if it need not compile anew for each image."""
    synchronized = any(getattr(layer, "synchronized", False) for layer in stage.model._flatten_layers())
    if settings.jit == "on" and synchronized:
        raise SettingsError("{jit} on does not go with synchronised batch normalisation: pass {jit} off")
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return settings.jit == "on" or (settings.jit == "auto" and on_gpu and stage.fixed_size and not synchronized)


def _compile(stage, settings):
    average = {"use_ema": settings.average is not None, "ema_momentum": settings.average or 0.0}
    with stage.model.distribute_strategy.scope():  # mirrors the optimizer's variables too
        optimizer = Adam(settings.learning_rate, clipnorm=stage.clipnorm, **average)
        stage.model.compile(optimizer, jit_compile=False)  # `Steps` decides
        stage.model.optimizer.build(stage.model.trainable_variables)


def _resume(stage, settings, schedule, writes):
    """Loads the last checkpoint into model and schedule; returns the run's "epoch", "samples" and "best"."""
    checkpoint = last_checkpoint(settings.model, settings.stage)
    stored = load_weights(stage.model, checkpoint, stage.architecture)
    state = _restored_state(stored, checkpoint, schedule)
    precisions = {settings.precision, stored["options"].get("precision", settings.precision)}
    if len(precisions) > 1 and "mixed_float16" in precisions:  # Keras wraps the optimizer
        print("the optimizer begins anew: that of --precision mixed_float16 has another state")
    # An unchanged option must not undo the schedule.
    if settings.learning_rate != stored["options"].get("learning_rate"):
        stage.model.optimizer.learning_rate = settings.learning_rate
    try:
        check_numbers(weights_file(settings.model, settings.stage))
    except UserError:  # lost or damaged: take the last weights instead
        if writes:
            stage.save_best()
    return state


def _restored_state(stored, checkpoint, schedule):
    """Checks the state in the notes of a checkpoint, restores the schedule and returns the state."""
    types = {"epoch": int, "samples": int, "best": float, "plateau": dict}
    state = stored.get("state")
    try:
        if not isinstance(state, dict) or any(type(state.get(name)) is not kind for name, kind in types.items()):
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


def _seed_dropout(model):
    """Sets dropout's random state by the optimizer's step, which Keras does not store, and by the device."""
    step = int(model.optimizer.iterations.numpy())
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            state = layer.seed_generator.state
            seed = int(state.numpy()[0])

            def assign(state=state, seed=seed):
                device = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, state.dtype)
                state.assign(tf.stack([seed + device, tf.constant(step, state.dtype)]))

            tf.function(lambda assign=assign: model.distribute_strategy.run(assign), autograph=False)()


def _drop_epochs_from(epoch, log):
    """Removes lines of a CSV log that will be written again. The run was killed between log and checkpoint."""
    if not log.exists():
        return
    lines = log.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[1:] if (number := line.split(b",")[0]).isdigit() and int(number) < epoch]
    if kept:
        with atomic_path(log) as temporary:
            temporary.write_bytes(b"".join([lines[0], *kept]))
    else:
        log.unlink()
