"""What differs between the devices of a run: dropout, and statistics of batch normalisation until they are averaged."""

import json
import subprocess
import sys

import numpy as np
from runs import ENVIRONMENT, ROOT

ON_TWO_DEVICES = """
import json

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras

from mpn.models.normalization import BatchNormalization
from mpn.training import distribution, loop
from mpn.training.steps import Steps

distribution.training_devices = lambda: ["CPU:0", "CPU:1"]
strategy = distribution.training_strategy(2)
with strategy.scope():
    values = keras.Input((400,))
    dropout, normalization = keras.layers.Dropout(0.5, seed=1), BatchNormalization()
    model = keras.Model(values, normalization(dropout(values)))
    model.compile(distribution.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
loop._seed_dropout(model)


def of_devices(value):
    return [one.numpy().tolist() for one in strategy.experimental_local_results(value)]


def on_devices(function):
    return tf.function(lambda: strategy.run(function), autograph=False)()


def set_mean():
    device = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
    normalization.moving_mean.assign(tf.fill((400,), 1 + 2 * device))


mean = lambda: tf.convert_to_tensor(normalization.moving_mean)[:1]
masks = of_devices(on_devices(lambda: dropout(tf.ones((400,)), training=True)))
on_devices(set_mean)
before = of_devices(on_devices(mean))
Steps(model, keras.losses.mean_squared_error, 2).average_statistics()
print(json.dumps([masks, before, of_devices(on_devices(mean))]))
"""


def test_dropout_differs_and_statistics_are_averaged():
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    masks, before, after = json.loads(done.stdout.splitlines()[-1])
    first, second = np.array(masks) > 0
    assert 0.4 < first.mean() < 0.6 and 0.4 < (first != second).mean() < 0.6
    assert before == [[1], [3]] and after == [[2], [2]]
