"""Number formats of a run: which precision, and how each machine does it."""

import functools
import pathlib

import keras
import tensorflow as tf

from mpn.errors import UserError

TRAINING_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
INFERENCE_PRECISIONS = ("auto", "float32", "bfloat16")

_ONEDNN_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"


@functools.cache
def has_amx():
    """Whether this processor multiplies bfloat16 matrices in hardware (Intel AMX)."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text().split()


def set_training_precision(precision):
    """Chooses the precision of every model built from now on.

    On a GPU this is Keras' policy of the same name. On a processor with AMX `mixed_bfloat16` is oneDNN's rewriting of
    convolutions and matrix products instead, about twice as fast as float32; variables and everything else stay
    float32. On other processors bfloat16 is slower than float32, which is taken instead, with a line that says so.

    Args:
        precision: one of TRAINING_PRECISIONS.

    Raises:
        UserError: unknown precision.
    """
    if precision not in TRAINING_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(TRAINING_PRECISIONS)}, not {precision!r}")
    on_cpu = not tf.config.list_physical_devices("GPU")
    bfloat16_on_cpu = precision == "mixed_bfloat16" and on_cpu
    if bfloat16_on_cpu and not has_amx():
        print("this processor has no AMX: training in float32, which is faster on it than mixed_bfloat16")
    rewrite_to_bfloat16(bfloat16_on_cpu and has_amx())
    keras.config.set_dtype_policy("float32" if bfloat16_on_cpu else precision)


def rewrite_to_bfloat16(active):
    """Switches oneDNN's bfloat16 rewriting for every TensorFlow function that is first run from now on.

    Pipelines of tf.data stay in float32: they take the option's value at the time when TensorFlow starts.
    """
    tf.config.list_logical_devices()  # starts TensorFlow, if nothing has yet
    tf.config.optimizer.set_experimental_options({_ONEDNN_BFLOAT16: bool(active)})


def resolve_inference_precision(precision):
    """Turns "auto" into bfloat16 where the processor has AMX and there is no GPU, float32 elsewhere.

    Raises:
        UserError: not one of INFERENCE_PRECISIONS.
    """
    if precision not in INFERENCE_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(INFERENCE_PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        return "bfloat16" if has_amx() and not tf.config.list_physical_devices("GPU") else "float32"
    return precision
