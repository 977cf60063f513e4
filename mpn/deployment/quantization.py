"""Post-training quantisation to int8 with nncf: convolutions in 8 bits, scaled by what they gave on some images."""

import pathlib

import numpy as np

from mpn.deployment.folder import import_extra
from mpn.errors import UserError
from mpn.images import IMAGE_SUFFIXES, read_image

# Images that calibrate, at most: the first by name.
MOST_IMAGES = 300

# What stays in float32: the convolutions that make heatmaps, regression and classification, and the bilinear
# upsampling, which OpenVINO computes as matrix products.
FLOAT_LAYERS = ("outputs", "upsampling")


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
        float_layers: of FLOAT_LAYERS.

    Returns:
        openvino.Model.
    """
    nncf = import_extra("nncf", "openvino")
    ignored = nncf.IgnoredScope(
        names=_last_convolutions(model) if "outputs" in float_layers else [],
        types=["MatMul"] if "upsampling" in float_layers else [],
        validate=False,
    )
    return nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda images: {"images": images}),
        subset_size=len(inputs),
        ignored_scope=ignored,
        # Processors without VNNI add pairs of products in 16 bits, which overflow where weights use all 8 bits.
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )


def _last_convolutions(model):
    """Names of the last convolutions before each output."""
    names, seen, stack = set(), set(), list(model.get_results())
    while stack:
        for given in stack.pop().inputs():
            node = given.get_source_output().get_node()
            kind, name = node.get_type_name(), node.get_friendly_name()
            if kind == "Convolution":
                names.add(name)
            elif kind != "ShapeOf" and name not in seen:  # a shape leads to layers that are none of the last
                seen.add(name)
                stack.append(node)
    return sorted(names)
