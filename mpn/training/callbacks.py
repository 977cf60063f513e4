"""Keras callbacks of a run that can be resumed."""

import math

import keras

from mpn.weights import save_weights


class ResumablePlateau(keras.callbacks.ReduceLROnPlateau):
    """The paper's schedule (§3.5): multiplies the learning rate by 0.1 on a plateau of the loss, down to 1e-7.

    A plateau is `patience` epochs without a better validation loss.
    """

    # Attributes of Keras' callback and their types; `best` is None before the first epoch.
    _MEMORY = {"best": (float, type(None)), "wait": (int,), "cooldown_counter": (int,)}

    def __init__(self, patience=3):
        super().__init__(monitor="val_loss", mode="min", factor=0.1, patience=patience, min_lr=1e-7, verbose=1)
        self._restored = {}

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        vars(self).update(self._restored)

    def memory(self):
        """Returns the state that a resumed run needs: a dict for JSON."""
        return {key: getattr(self, key) for key in self._MEMORY}

    def restore(self, memory):
        """Uses the dict of `memory` from the next start of training on. Raises ValueError if the dict is malformed."""
        if memory.keys() != self._MEMORY.keys() or any(type(memory[key]) not in self._MEMORY[key] for key in memory):
            raise ValueError(f"no memory of a schedule: {memory}")
        self._restored = dict(memory)


class CosineSchedule(keras.callbacks.Callback):
    """A learning rate that rises over the first 2 % of all steps and then falls to 1 % along half a cosine.

    Keras' CosineDecay gives the same rates within 2e-6. But with it the optimizer has no variable for the learning
    rate: older checkpoints would not fit, and a resumed run could not change the rate.
    """

    _WARM_UP = 0.02
    _LEAST = 0.01

    def __init__(self, learning_rate, steps_per_epoch, epochs):
        super().__init__()
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps_per_epoch * epochs

    def rate(self, step):
        """Returns the learning rate of a step, counted from 0."""
        warm_up = self._WARM_UP * self.steps
        if step < warm_up:
            return self.learning_rate * (step + 1) / (warm_up + 1)
        progress = min((step - warm_up) / max(self.steps - warm_up, 1), 1)
        return self.learning_rate * (self._LEAST + (1 - self._LEAST) * (1 + math.cos(math.pi * progress)) / 2)

    def on_epoch_begin(self, epoch, logs=None):
        self.first_step = epoch * self.steps_per_epoch

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.rate(self.first_step + batch)

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)

    def memory(self):
        """Returns the length of the run, a dict for JSON. The rate depends only on this and the number of the step."""
        return {"steps": self.steps}

    def restore(self, memory):
        """Prints a warning if the length has changed, since the rate then jumps."""
        if memory.get("steps") != self.steps:
            print(f"the cosine spans {self.steps} steps now, not {memory.get('steps')}: the learning rate jumps")


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises FloatingPointError with epoch and step, which `first_bad()` gives, if the loss becomes NaN or infinite."""

    def __init__(self, first_bad):
        super().__init__()
        self.first_bad = first_bad

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._check(logs, "loss", lambda: f"at step {self.first_bad()} of epoch {self.epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        # The last step may have broken the weights, which no checkpoint may keep.
        self._check(logs, "val_loss", lambda: f"in epoch {epoch + 1}")

    def _check(self, logs, name, place):
        loss = float((logs or {}).get(name, 0.0))
        if not math.isfinite(loss):
            name = name.replace("val_", "validation ")
            raise FloatingPointError(
                f"the {name} became {loss} {place()}: go on from the last checkpoint with --resume and a lower "
                "--learning-rate, or with --precision float32"
            )


class Checkpoints(keras.callbacks.Callback):
    """Writes the last state after each epoch, and calls `save_best` if the validation loss is the best so far.

    The file `path` gets weights, optimizer, epoch, schedule and `notes` (a dict for JSON), written atomically. `state`
    has the number of "samples" drawn so far and the "best" validation loss. If `averages` is a
    keras.callbacks.SwapEMAWeights, the best weights are moving averages; in the last state the optimizer has them.
    Without `writes` it does everything else, so that the weights of all hosts stay the same.
    """

    def __init__(self, path, save_best, schedule, samples_per_epoch, notes, state, averages=None, writes=True):
        super().__init__()
        self.path = path
        self.save_best = save_best
        self.schedule = schedule
        self.samples_per_epoch = samples_per_epoch
        self.notes = notes
        self.averages = averages
        self.writes = writes
        self.samples = state["samples"]
        self.best = state["best"]

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best = float(logs["val_loss"])
            if self.averages:
                self.averages.on_test_begin()
            try:
                if self.writes:
                    self.save_best()
            finally:
                if self.averages:
                    self.averages.on_test_end()
        self.samples += self.samples_per_epoch
        state = {"epoch": epoch + 1, "samples": self.samples, "best": self.best, "plateau": self.schedule.memory()}
        if self.writes:
            save_weights(self.model, self.path, {**self.notes, "state": state})
