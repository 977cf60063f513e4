"""Makes a small model directory for inference, or another format: `python -m mpn.export models/r50 compact/r50`.

A model directory holds the parts that the source has, without what only training needs; in float16 half as large.
"""

import argparse
import os
import pathlib
import shutil

from mpn.cli.script import import_tensorflow, run
from mpn.deployment.folder import FORMATS
from mpn.errors import UserError
from mpn.files import make_writable, temporary_path
from mpn.model_directory import (
    CONFIG_FILE,
    PARTS,
    POSITION_PRIOR_FILE,
    load_networks,
    model_folder,
    save_networks,
    weights_file,
)
from mpn.weights import STORAGES


def export_model(source, target, storage="float16", overwrite=False):
    """Writes a model directory for inference, completely or not at all.

    Args:
        source: model directory, or the name of a shipped model.
        target: folder to make.
        storage: "float16" or "float32", see `mpn.weights.save_weights`.
        overwrite: replace an earlier export.

    Returns:
        list of the parts written, of PARTS.

    Raises:
        UserError: the source has no weights or cannot be loaded, a weight is too large for float16, or the target
            exists and is not to be overwritten, or holds something else than an export. It is as it was then.
        OSError: the target cannot be written.
    """

    source, target = model_folder(source).resolve(), pathlib.Path(target).resolve()
    _check_target(source, target, overwrite)
    parts = [part for part in PARTS if weights_file(source, part).exists()]
    if not parts:
        raise UserError(f"{source} holds no weights to export: run train_keypoints.py or train_prn.py --model {source}")
    # The fingerprint in the person weights is that of the backbone, which "keypoints" brings.
    networks = load_networks(source, (*parts, "keypoints") if "person" in parts else parts, refiner=True)
    make_writable(target.parent)
    new = temporary_path(target)
    old = target.with_name(f".old-{os.getpid()}-{target.name}")
    try:
        save_networks(networks, new, parts, storage)
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return parts


def _check_target(source, target, overwrite):
    """Refuses a target whose replacement would lose something."""

    if target == source or target in source.parents:
        raise UserError(f"{target} is or holds the model to export: choose another folder")
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{target} is a file, not a folder")
    content = {path.name for path in target.iterdir()}
    others = content - {CONFIG_FILE, POSITION_PRIOR_FILE, *(weights_file(target, part).name for part in PARTS)}
    if others:
        raise UserError(f"{target} holds {min(others)}, which no export has: choose another folder")
    if content and not overwrite:
        raise UserError(f"{target} exists already: choose another folder, or add --overwrite")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mpn.export",
        description="Writes a model for inference: as a model directory without what training needs, or for places "
        "without TensorFlow, with a README.md that says how to run it.",
    )
    parser.add_argument("source", metavar="SOURCE", help="model directory, or the name of a shipped model")
    parser.add_argument("target", metavar="TARGET", help="folder to make")
    parser.add_argument("--format", choices=("keras", *FORMATS), default="keras", help="default: keras")
    parser.add_argument("--storage", choices=STORAGES, default="float16", help="of Keras' weights; default: float16")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in the format keras")
    parser.add_argument("--int8", action="store_true", help="quantise the network, for openvino; needs --calibrate")
    parser.add_argument("--calibrate", metavar="FOLDER", help="photographs of people, of which the first 300 count")
    options = parser.parse_args(argv)
    import_tensorflow()
    if options.format == "keras":
        if options.int8 or options.calibrate:
            raise UserError("--int8 and --calibrate are for --format openvino")
        parts = export_model(options.source, options.target, options.storage, options.overwrite)
        what = f"{', '.join(parts)} in {options.storage}"
    else:
        from mpn.deployment.export import export_graphs

        if options.overwrite:
            raise UserError("--overwrite is for --format keras: choose another folder")
        export_graphs(options.source, options.target, options.format, options.int8, options.calibrate)
        what = f"{options.format} in {'int8' if options.int8 else 'float32'}"
    size = sum(path.stat().st_size for path in pathlib.Path(options.target).rglob("*") if path.is_file())
    print(f"{options.target}: {what}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
