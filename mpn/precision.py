"""Number formats of training and inference, and how each machine computes in them."""

import contextlib
import functools
import pathlib

import keras
import tensorflow as tf

from mpn.environment import pin_keras
from mpn.errors import UserError

pin_keras()

TRAINING_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
INFERENCE_PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_ONEDNN_BFLOAT16 = "auto_mixed_precision_onednn_bfloat16"

# Linux's names of the instructions that multiply bfloat16.
_BFLOAT16_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


@functools.cache
def multiplies_bfloat16():
    """Whether this CPU multiplies bfloat16 in hardware, which is faster than float32."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    return cpuinfo.exists() and not _BFLOAT16_INSTRUCTIONS.isdisjoint(cpuinfo.read_text().split())


def gpu_half_precision():
    """The half precision in which the first GPU is fast, "bfloat16" or "float16"; None for old GPUs and without one.

    NVIDIA's tensor cores multiply float16 from compute capability 7.0 on, and bfloat16 from 8.0 on.
    """
    gpus = tf.config.list_physical_devices("GPU")
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability") if gpus else None
    if not capability or capability < (7, 0):
        return None
    return "bfloat16" if capability >= (8, 0) else "float16"


def set_training_precision(precision):
    """Sets the precision of every model built from now on, one of TRAINING_PRECISIONS.

    On a GPU this is Keras' policy of the same name. On a CPU with bfloat16 instructions, `mixed_bfloat16` makes oneDNN
    compute convolutions and matrix products in bfloat16, 1.4 (AVX-512) to 2 times (AMX) as fast; all else stays
    float32. On other CPUs it means float32, with a printed notice.
    """
    if precision not in TRAINING_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(TRAINING_PRECISIONS)}, not {precision!r}")
    bfloat16_on_cpu = precision == "mixed_bfloat16" and not tf.config.list_physical_devices("GPU")
    if bfloat16_on_cpu and not multiplies_bfloat16():
        print("this processor has no bfloat16 instructions: training in float32, which is faster without them")
    rewrite_to_bfloat16(bfloat16_on_cpu and multiplies_bfloat16())
    keras.config.set_dtype_policy("float32" if bfloat16_on_cpu else precision)


def rewrite_to_bfloat16(active):
    """Switches oneDNN's rewriting to bfloat16 for every TensorFlow function that first runs from now on."""
    tf.config.list_logical_devices()  # starts TensorFlow: pipelines of tf.data keep the setting from its start, float32
    tf.config.optimizer.set_experimental_options({_ONEDNN_BFLOAT16: bool(active)})


def resolve_inference_precision(precision):
    """Turns one of INFERENCE_PRECISIONS into "float32", "bfloat16" or "float16".

    "auto" is the half precision in which the GPU, or without one the CPU, is fast, and else float32. Raises UserError
    for float16 without a GPU.
    """
    if precision not in INFERENCE_PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(INFERENCE_PRECISIONS)}, not {precision!r}")
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    if precision == "float16" and not on_gpu:
        raise UserError("precision float16 needs a GPU: take bfloat16 or float32")
    if precision != "auto":
        return precision
    if on_gpu:
        return gpu_half_precision() or "float32"
    return "bfloat16" if multiplies_bfloat16() else "float32"


def rewrites_to_bfloat16(precision):
    """Whether oneDNN rewrites graphs in this precision: it does for "bfloat16" on a CPU."""
    return precision == "bfloat16" and not tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def network_dtype_policy(precision):
    """Sets the dtype policy of networks built inside, from INFERENCE_PRECISIONS; always float32 on a CPU."""
    precision = resolve_inference_precision(precision)
    exact = precision == "float32" or rewrites_to_bfloat16(precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if exact else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
