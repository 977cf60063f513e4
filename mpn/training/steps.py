"""One step of training and one of validation, on one device or on several that share each batch."""

import keras
import tensorflow as tf


class Steps:
    """The steps of a compiled model; they add up the losses of an epoch on the devices, and wait for nothing.

    Each device computes the gradient of its part of the batch; the sum of all is the gradient of the mean loss over the
    whole batch, whatever the number of devices.

    Args:
        model: keras.Model compiled with our `Adam`; its `distribute_strategy` has the devices.
        loss: function of targets and outputs that returns one value an image, (B,), or a dict of them by output.
        batch_size: samples in a step of training, over all devices.
        jit: whether XLA compiles network and gradient.
    """

    def __init__(self, model, loss, batch_size, jit=False):
        self.model = model
        self.strategy = model.distribute_strategy
        self.batch_size = batch_size
        self._losses_by_output = loss if isinstance(loss, dict) else {None: loss}
        with self.strategy.scope():
            # The sum over all images of each output's loss, and the number of images.
            self._totals = tf.Variable(tf.zeros(len(self._losses_by_output) + 1, tf.float64), trainable=False)
            self._steps = tf.Variable(tf.zeros(2, tf.int64), trainable=False)  # in all, and the first bad one
        gradients = tf.function(self._gradients, jit_compile=True, autograph=False) if jit else self._gradients
        self._train = self._on_devices(lambda *batch: self._train_step(gradients, *batch))
        self._validate = self._on_devices(self._validation_step)
        self._statistics = self._own_statistics()
        self._average = tf.function(lambda: self.strategy.run(self._average_step), autograph=False)

    def train(self, batches):
        """Takes a step of training with the next batch of an iterator (`batches_on_devices`)."""
        self._train(batches)

    def validate(self, batches, remaining):
        """Adds the losses of the next batch; only its first `remaining` samples count if it has more."""
        self._validate(batches, tf.constant(remaining, tf.int64))

    def restart(self):
        """Sets the losses to zero."""
        for variable in (self._totals, self._steps):
            variable.assign(tf.zeros_like(variable))

    def losses(self):
        """Returns the mean losses since `restart`, a dict of "loss" and, if several outputs have one, "OUTPUT_loss"."""
        *sums, count = self._totals.numpy().tolist()
        means = [total / count for total in sums]
        names = [f"{name}_loss" for name in self._losses_by_output]
        return {"loss": sum(means), **(dict(zip(names, means, strict=True)) if len(names) > 1 else {})}

    def first_bad(self):
        """Returns the number of the first step with a loss that is not finite, counted from 1; 0 if there is none."""
        return int(self._steps.numpy()[1])

    def average_statistics(self):
        """Sets batch normalisation's running statistics to their mean over the devices, which each have their own."""
        if self._statistics:
            self._average()

    def _on_devices(self, step):
        def run(batches, *more):
            self.strategy.run(step, args=(*more, *batches.get_next()))

        return tf.function(run, autograph=False, reduce_retracing=True)

    def _own_statistics(self):
        """Variables that differ between the devices."""
        if self.strategy.num_replicas_in_sync == 1:
            return []
        layers = [layer for layer in self.model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        own = [layer for layer in layers if layer.trainable and not layer.synchronized]
        return [statistic for layer in own for statistic in (layer.moving_mean, layer.moving_variance)]

    def _average_step(self):
        values = [tf.convert_to_tensor(statistic) for statistic in self._statistics]
        means = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)
        for statistic, mean in zip(self._statistics, means, strict=True):
            statistic.assign(mean)

    def _train_step(self, compute_gradients, images, targets):
        gradients, losses = compute_gradients(images, targets)
        *gradients, losses = _sum_over_devices([*gradients, losses])
        self.model.optimizer.apply(gradients, self.model.trainable_variables)
        self._add(losses, self.batch_size)

    def _gradients(self, images, targets):
        """Gradients of this device's share of the mean loss, and the sum over its images of each output's loss."""
        with tf.GradientTape() as tape:
            losses = tf.reduce_sum(self._losses(images, targets, training=True), axis=0)
            loss = self.model.optimizer.scale_loss(tf.reduce_sum(losses) / self.batch_size)
        return tape.gradient(loss, self.model.trainable_variables), losses

    def _validation_step(self, remaining, images, targets):
        losses = self._losses(images, targets, training=False)
        size = tf.shape(losses, tf.int64)[0]
        device = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        counted = device * size + tf.range(size) < remaining
        losses = tf.reduce_sum(tf.where(counted[:, None], losses, 0.0), axis=0)
        losses, count = _sum_over_devices([losses, tf.reduce_sum(tf.cast(counted, tf.float32))])
        self._add(losses, count)

    def _losses(self, images, targets, training):
        """The loss of each image and output, (B, outputs) float32."""
        outputs = self.model(images, training=training)
        losses = []
        for name, loss in self._losses_by_output.items():
            pair = (targets, outputs) if name is None else (targets[name], outputs[name])
            losses.append(loss(*(tf.cast(value, tf.float32) for value in pair)))
        return tf.stack(losses, axis=1)

    def _add(self, losses, count):
        """Adds the losses of a step, which are the same on all devices."""
        self._totals.assign_add(tf.cast(tf.concat([losses, [count]], axis=0), tf.float64))
        number, bad = self._steps[0] + 1, self._steps[1]
        finite = tf.reduce_all(tf.math.is_finite(losses))
        self._steps.assign([number, tf.where(finite | (bad > 0), bad, number)])


def _sum_over_devices(tensors):
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)
