"""Post-training quantisation to int8 with nncf: convolutions in 8 bits, scaled by what they gave on some images."""

import pathlib

import numpy as np

from mpn.deployment.folder import import_extra
from mpn.errors import UserError
from mpn.images import IMAGE_SUFFIXES, read_image

# Images that calibrate, at most: the first by name.
MOST_IMAGES = 300

# Layers that stay in float32.
FLOAT_LAYERS = ()


def calibration_images(folder):
    """Paths of the images that calibrate, in the order of their names.

    Raises:
        UserError: there is no such folder, or it has no images.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"--calibrate {folder} is not a folder: name one with photographs of people")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"--calibrate {folder} has no images: name a folder with photographs of people")
    return paths[:MOST_IMAGES]


def calibration_inputs(paths, predictor, refiner=None):
    """What the network sees of some images: one array for each.

    Args:
        paths: of images.
        predictor: MultiPoseNet that sees whole images.
        refiner: Refiner, where its network is meant: it sees the people that the predictor finds.

    Yields:
        (1, H, W, 3) uint8.
    """
    for path in paths:
        image = read_image(path)
        if refiner is None:
            (images, _), _ = predictor.prepare(image)
            yield np.asarray(images)
        else:
            best = predictor.detect(image).boxes[:1]  # hundreds of images have enough people
            if len(best):
                yield refiner.crops(image, best)[1]


def quantize(model, inputs, float_layers=FLOAT_LAYERS):
    """An OpenVINO network in int8.

    Args:
        model: openvino.Model with the input "images".
        inputs: list of arrays, see `calibration_inputs`.
        float_layers: regular expressions of the names of layers that stay in float32.

    Returns:
        openvino.Model.
    """
    nncf = import_extra("nncf", "openvino")
    return nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda images: {"images": images}),
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=list(float_layers), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # Processors without VNNI add pairs of products in 16 bits, which overflow where weights use all 8 bits.
            overflow_fix=nncf.OverflowFix.ENABLE,
        ),
    )
