"""Keras callbacks of a resumable run."""

import math

import keras

from mpn.weights import save_weights


class ResumablePlateau(keras.callbacks.ReduceLROnPlateau):
    """Keras' learning-rate schedule "x 0.1 in plateaux" (§3.5), whose memory can be stored and restored."""

    _MEMORY = ("best", "wait", "cooldown_counter")

    def __init__(self, patience, min_learning_rate):
        super().__init__(
            monitor="val_loss", mode="min", factor=0.1, patience=patience, min_lr=min_learning_rate, verbose=1
        )
        self._restored = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for key, value in (self._restored or {}).items():
            setattr(self, key, value)

    def memory(self):
        """What a resumed run must know, as a JSON-able dict; `best` is None before the first epoch."""
        return {key: getattr(self, key) for key in self._MEMORY}

    def restore(self, memory):
        """Takes over what `memory` gave, from the next `fit` on.

        Raises:
            ValueError: `memory` gives nothing of the kind.
        """
        kinds = {"best": (float, type(None)), "wait": (int,), "cooldown_counter": (int,)}
        if memory.keys() != kinds.keys() or any(type(memory[key]) not in kinds[key] for key in kinds):
            raise ValueError(f"no memory of a schedule: {memory}")
        self._restored = dict(memory)


class CosineSchedule(keras.callbacks.Callback):
    """A learning rate that rises over the first steps and falls to nothing along half a cosine.

    It depends on the number of the step alone, so a resumed run needs no memory of it to go on.

    Args:
        learning_rate: the highest.
        steps_per_epoch, epochs: length of the whole run.
    """

    _WARM_UP = 0.02  # share of the run
    _LEAST = 0.01  # of the highest rate, at the end

    def __init__(self, learning_rate, steps_per_epoch, epochs):
        super().__init__()
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.steps = steps_per_epoch * epochs

    def rate(self, step):
        """The learning rate of a step, counted from 0."""
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
        """The length of the run, as a JSON-able dict."""
        return {"steps": self.steps}

    def restore(self, memory):
        """Says so where a resumed run has another length, since the rate then jumps."""
        if memory.get("steps") != self.steps:
            print(f"the cosine spans {self.steps} steps now, not {memory.get('steps')}: the learning rate jumps")


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends training with the step at which the loss became NaN or infinite.

    Raises:
        FloatingPointError: from `fit`; the message names epoch and step.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} at step {batch + 1} of epoch {self.epoch + 1}: go on from the last checkpoint "
                f"with --resume and a lower --learning-rate, or with --precision float32"
            )

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("val_loss", 0.0)
        if not math.isfinite(loss):  # of the last step's weights, which no checkpoint must keep
            raise FloatingPointError(
                f"the validation loss became {loss} in epoch {epoch + 1}: go on from the last checkpoint with --resume "
                "and a lower --learning-rate, or with --precision float32"
            )


class Checkpoints(keras.callbacks.Callback):
    """Writes the last state after each epoch, and the weights whenever the validation loss is the best so far.

    Args:
        path: file of the last state: weights, optimizer, epoch and schedule, written atomically as one.
        save_best: called without arguments to store the best weights.
        schedule: ResumablePlateau or CosineSchedule.
        samples_per_epoch: training samples drawn in an epoch.
        notes: JSON-able dict stored with the state.
        state: dict with "samples", those drawn so far, and "best", the best validation loss so far.
        averages: keras.callbacks.SwapEMAWeights where the best weights are moving averages, or None. The last state
            has both, the weights themselves and, in the optimizer, their averages.
    """

    def __init__(self, path, save_best, schedule, samples_per_epoch, notes, state, averages=None):
        super().__init__()
        self.path = path
        self.save_best = save_best
        self.schedule = schedule
        self.samples_per_epoch = samples_per_epoch
        self.notes = notes
        self.averages = averages
        self.samples = state["samples"]
        self.best = state["best"]

    def on_epoch_end(self, epoch, logs=None):
        loss = logs["val_loss"]
        if loss < self.best:
            self.best = float(loss)
            if self.averages:
                self.averages.on_test_begin()
            try:
                self.save_best()
            finally:
                if self.averages:
                    self.averages.on_test_end()
        self.samples += self.samples_per_epoch
        state = {
            "epoch": epoch + 1,
            "samples": self.samples,
            "best": self.best,
            "plateau": self.schedule.memory(),
        }
        save_weights(self.model, self.path, {**self.notes, "state": state})
