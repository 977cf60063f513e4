"""Number formats of a run: which precision, and how each machine does it."""

import contextlib
import functools
import pathlib

import keras
import tensorflow as tf

from mpn.environment import pin_keras
from mpn.errors import UserError

pin_keras()  # every network imports this module, so Keras is set up here

TRAINING_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
INFERENCE_PRECISIONS = ("auto", "float32", "bfloat16")

_ONEDNN_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"

# Linux' names of the instructions that multiply bfloat16 numbers: Intel's AMX, and AVX-512's, which AMD has, too.
_BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


@functools.cache
def multiplies_bfloat16():
    """Whether this processor multiplies bfloat16 numbers in hardware, and so faster than float32."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return cpuinfo.exists() and not _BFLOAT16_INSTRUCTIONS.isdisjoint(cpuinfo.read_text().split())


def set_training_precision(precision):
    """Chooses the precision of every model built from now on.

    On a GPU this is Keras' policy of the same name. On a processor with bfloat16 instructions `mixed_bfloat16` is
    oneDNN's rewriting of convolutions and matrix products instead, 1.4 (AVX-512) to 2 times (AMX) as fast as float32;
    variables and everything else stay float32. On other processors bfloat16 is slower than float32, which is taken
    instead, with a line that says so.

    Args:
        precision: one of TRAINING_PRECISIONS.

    Raises:
        UserError: unknown precision.
    """
    if precision not in TRAINING_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(TRAINING_PRECISIONS)}, not {precision!r}")
    on_cpu = not tf.config.list_physical_devices("GPU")
    bfloat16_on_cpu = precision == "mixed_bfloat16" and on_cpu
    if bfloat16_on_cpu and not multiplies_bfloat16():
        print("this processor has no bfloat16 instructions: training in float32, which is faster without them")
    rewrite_to_bfloat16(bfloat16_on_cpu and multiplies_bfloat16())
    keras.config.set_dtype_policy("float32" if bfloat16_on_cpu else precision)


def rewrite_to_bfloat16(active):
    """Switches oneDNN's bfloat16 rewriting for every TensorFlow function that is first run from now on.

    Pipelines of tf.data stay in float32: they take the option's value at the time when TensorFlow starts.
    """
    tf.config.list_logical_devices()  # starts TensorFlow, if nothing has yet
    tf.config.optimizer.set_experimental_options({_ONEDNN_BFLOAT16: bool(active)})


def resolve_inference_precision(precision):
    """Turns "auto" into bfloat16 where the processor multiplies it and there is no GPU, float32 elsewhere.

    Raises:
        UserError: not one of INFERENCE_PRECISIONS.
    """
    if precision not in INFERENCE_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(INFERENCE_PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        return "bfloat16" if multiplies_bfloat16() and not tf.config.list_physical_devices("GPU") else "float32"
    return precision


def rewrites_to_bfloat16(precision):
    """Whether oneDNN is to rewrite the graphs of networks in this precision: bfloat16 without a GPU.

    Args:
        precision: "float32" or "bfloat16".
    """
    return precision == "bfloat16" and not tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def network_dtype_policy(precision):
    """Networks built inside have the dtype policy of an inference precision: half of it on a GPU, float32 elsewhere.

    Args:
        precision: one of INFERENCE_PRECISIONS.

    Raises:
        UserError: unknown precision.
    """
    precision = resolve_inference_precision(precision)
    half = precision == "bfloat16" and not rewrites_to_bfloat16(precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if half else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
