"""Which layers int8 hurts: `python -m mpn.deployment.sensitivity EXPORT FOLDER` on an OpenVINO export in float32.

Quantises all layers, then all but one kind of them. For each it prints the error of every output on photographs that
calibration has not seen: its root mean square over that of the output, as a share.
"""

import argparse
import pathlib

import numpy as np

from mpn.cli.script import run
from mpn.deployment.calibration import model_inputs, photographs
from mpn.deployment.int8 import quantize_openvino
from mpn.inference.engines import load_export
from mpn.inference.export_folder import import_extra

KINDS = ("heatmaps", "regression", "classification", "upsampling", "depthwise")


def sensitivity(folder, photos, images=30):
    """Yields the kinds of layers that stay float32, and the error of each output: dict of name and share.

    `folder` is a model's OpenVINO export, `photos` a folder; `images` calibrate, and a third as many are compared.
    """
    openvino = import_extra("openvino")
    _, config, _ = load_export(folder, "float32")
    paths = photographs(photos)[: images + images // 3]
    seen, unseen = (list(model_inputs(part, config.image_size)) for part in (paths[:images], paths[images:]))
    path = pathlib.Path(folder) / "network.xml"

    def look(model):
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = []
        for images in unseen:
            outputs = compiled({"images": images})
            found.append({port.any_name: values.flatten() for port, values in outputs.items()})  # copies
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    true = look(openvino.Core().read_model(path))
    for exact in ((), *((kind,) for kind in KINDS), KINDS):
        found = look(quantize_openvino(openvino.Core().read_model(path), seen, exact))
        yield exact, {name: _size(found[name] - true[name]) / _size(true[name]) for name in true}


def _size(values):
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m mpn.deployment.sensitivity", description=__doc__)
    parser.add_argument("export", metavar="EXPORT", help="folder of a model's export in the format openvino")
    parser.add_argument("photographs", metavar="FOLDER", help="folder with photographs")
    options = parser.parse_args(argv)
    for exact, errors in sensitivity(options.export, options.photographs):
        each = ", ".join(f"{name} {error:.4f}" for name, error in errors.items())
        print(f"float32: {', '.join(exact) or 'no layer'}: {each}", flush=True)


if __name__ == "__main__":
    run(main)
