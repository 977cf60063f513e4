"""Number formats: what oneDNN's bfloat16 rewriting reaches, and what it must not."""

import pathlib
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from mpn import precision
from mpn.errors import UserError
from mpn.precision import multiplies_bfloat16, network_dtype_policy, resolve_inference_precision

ROOT = pathlib.Path(__file__).resolve().parents[1]

TWO_FORMATS = """
import numpy as np
from mpn.precision import rewrite_to_bfloat16

rewrite_to_bfloat16(True)
import tensorflow as tf

rng = np.random.default_rng(0)
a, b = rng.random((8, 64, 48), np.float32), rng.random((8, 48, 56), np.float32)
exact = a.astype(np.float64) @ b
(pipeline,) = tf.data.Dataset.from_tensors((a, b)).map(tf.matmul).as_numpy_iterator()
graph = tf.function(tf.matmul)(a, b).numpy()
print(*(np.abs(product / exact - 1).max() for product in (pipeline, graph)))
"""


def test_pipelines_stay_in_float32_where_models_do_not():
    """A process of its own, since all depends on the option being set before TensorFlow has done anything."""
    done = subprocess.run([sys.executable, "-c", TWO_FORMATS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    pipeline, graph = map(float, done.stdout.split())
    assert pipeline < 1e-6
    if multiplies_bfloat16():  # elsewhere oneDNN may leave matrices as they are
        assert graph > 1e-4


@pytest.mark.parametrize(
    ("flags", "multiplies"),
    [
        ("fpu avx512f avx512_bf16 avx512_vnni", True),
        ("fpu amx_bf16 amx_tile amx_int8", True),
        ("fpu avx512f amx_tile amx_int8", False),
        ("fpu avx2 avx512_bf16x", False),
        (None, False),
    ],
)
def test_which_processors_multiply_bfloat16(monkeypatch, flags, multiplies):
    monkeypatch.setattr(pathlib.Path, "exists", lambda path: flags is not None)
    monkeypatch.setattr(pathlib.Path, "read_text", lambda path: f"model name : any\nflags\t\t: {flags}\n")
    assert multiplies_bfloat16.__wrapped__() is multiplies


@pytest.mark.parametrize(
    ("gpu", "cpu_multiplies", "auto", "policy"),
    [
        ({"compute_capability": (9, 0)}, False, "bfloat16", "mixed_bfloat16"),
        ({"compute_capability": (8, 0)}, True, "bfloat16", "mixed_bfloat16"),
        ({"compute_capability": (7, 5)}, True, "float16", "mixed_float16"),
        ({"compute_capability": (6, 1)}, True, "float32", "float32"),
        ({}, True, "float32", "float32"),  # a GPU of another make
        (None, True, "bfloat16", "float32"),  # oneDNN rewrites the graphs
        (None, False, "float32", "float32"),
    ],
)
def test_inference_is_in_half_precision_where_the_device_is_fast(monkeypatch, gpu, cpu_multiplies, auto, policy):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [] if gpu is None else ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: gpu)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: cpu_multiplies)
    assert resolve_inference_precision("auto") == auto
    assert resolve_inference_precision("float32") == "float32"
    with network_dtype_policy("auto"):
        assert keras.config.dtype_policy().name == policy
    assert keras.config.dtype_policy().name == "float32"
    if gpu is None:
        with pytest.raises(UserError, match="float16 needs a GPU"):
            resolve_inference_precision("float16")
    else:
        assert resolve_inference_precision("float16") == "float16"
