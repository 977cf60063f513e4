"""Writes a small model directory for inference: `python -m mpn.export models/r50 compact/r50`.

It leaves out what only training needs, and stores weights in float16, in half the space. With --format it writes a
folder for other engines instead, see `mpn.deployment`.
"""

import argparse
import os
import pathlib
import shutil

from mpn.cli.script import command, import_tensorflow
from mpn.errors import UserError
from mpn.files import make_writable, temporary_path
from mpn.inference.export_folder import FORMATS
from mpn.kinds import positive_int


def export_model(source, target, storage="float16", overwrite=False):
    """Writes a model directory for inference, completely or not at all, and returns the parts written.

    `source` may name a shipped model; see `mpn.weights.save_weights` for `storage`. Raises UserError where the source
    cannot be loaded, a weight is too large for float16, or replacing the target would lose something.
    """
    from mpn.model_directory import PARTS, load_networks, model_folder, save_networks, weights_file

    source, target = model_folder(source).resolve(), pathlib.Path(target).resolve()
    _check_target(source, target, overwrite)
    parts = [part for part in PARTS if weights_file(source, part).exists()]
    if not parts:
        raise UserError(f"{source} holds no weights to export: run train_keypoints.py or train_prn.py --model {source}")
    # The person weights store the fingerprint of the backbone, which belongs to "keypoints".
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
    from mpn.model_directory import CONFIG_FILE, PARTS, POSITION_PRIOR_FILE, weights_file

    if target == source or target in source.parents:
        raise UserError(f"{target} is or contains the model to export: choose another folder")
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


@command
def main(argv=None):
    import_tensorflow()
    from mpn.weights import STORAGES

    parser = argparse.ArgumentParser(
        prog="python -m mpn.export",
        description="Writes a model directory for inference, without what training needs, or a folder for another "
        "engine, with a README.md that says how to run it.",
    )
    parser.add_argument("source", metavar="SOURCE", help="model directory, or the name of a model of the package")
    parser.add_argument("target", metavar="TARGET", help="folder to make")
    parser.add_argument("--format", choices=("keras", *FORMATS), default="keras", help="default: keras")
    parser.add_argument("--storage", choices=STORAGES, help="of the weights, for the format keras; default: float16")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in the format keras")
    parser.add_argument(
        "--size",
        nargs=2,
        type=positive_int,
        metavar=("H", "W"),
        help="height and width of every image, for the format tflite; default: the model's image size",
    )
    parser.add_argument("--int8", action="store_true", help="compute in 8 bits, for the formats openvino and tflite")
    parser.add_argument("--calibrate", metavar="FOLDER", help="photographs for --int8, of which at most 300 are read")
    options = parser.parse_args(argv)
    if options.int8 != (options.calibrate is not None):
        raise UserError("--int8 needs --calibrate FOLDER, a folder with photographs: give both or neither")
    if options.format == "keras":
        if options.int8 or options.size:
            raise UserError("--int8 is for the formats openvino and tflite, and --size for tflite: add --format")
        storage = options.storage or "float16"
        parts = export_model(options.source, options.target, storage, options.overwrite)
        what = f"{', '.join(parts)} in {storage}"
    else:
        from mpn.deployment.export import export_graphs

        if options.overwrite or options.storage:
            raise UserError("--overwrite and --storage are for the format keras: leave them out")
        export_graphs(options.source, options.target, options.format, options.size, options.calibrate)
        what = options.format + options.int8 * " in int8"
    size = sum(path.stat().st_size for path in pathlib.Path(options.target).rglob("*") if path.is_file())
    print(f"{options.target}: {what}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main.run()
