"""One step of training on one device, against gradients and losses worked out by hand."""

import keras
import numpy as np
import tensorflow as tf

from mpn.training.distribution import Adam
from mpn.training.steps import Steps


class Recorder(Adam):
    """Keeps the gradients that it is given, and changes nothing."""

    def apply(self, gradients, variables=None):
        self.given.assign(gradients[0])


def squared_errors(targets, outputs):
    return tf.reduce_sum(tf.square(targets - outputs), axis=1)


def test_the_gradient_is_that_of_the_mean_loss():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")(inputs))
    optimizer = Recorder(0.1)
    optimizer.given = tf.Variable(tf.zeros((2, 1)))
    model.compile(optimizer)
    steps = Steps(model, squared_errors, batch_size=2)
    batch = np.float32([[1, 2], [3, 4]]), np.float32([[1], [2]])
    steps.train(iter(tf.data.Dataset.from_tensors(batch)))
    # The output is 0: losses are y^2, and gradients -2 y x.
    np.testing.assert_allclose(optimizer.given, -np.mean([[2, 4], [12, 16]], axis=0)[:, None])
    assert steps.losses() == {"loss": 2.5} and steps.first_bad() == 0
    steps.train(iter(tf.data.Dataset.from_tensors((batch[0], np.float32([[np.nan], [2]])))))
    assert steps.first_bad() == 2
    steps.restart()
    steps.validate(iter(tf.data.Dataset.from_tensors(batch)), remaining=1)  # the second one only fills the batch
    assert steps.losses() == {"loss": 1.0} and steps.first_bad() == 0
