"""Prints the parameters and multiply-adds of every block of a network, as in the paper's supplement (§4.5).

`python -m mpn.studies.cost --backbone resnet50 --image-size 384 576`

Each weight in the kernel of a convolution or dense layer counts once for every place of the output, padding included.
Other layers do not count: they are about 1 % here. One multiply-add is two floating-point operations (FLOPs).
"""

import math
import typing

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.config import BACKBONE_NAMES, ModelConfig, named_backbone
from mpn.geometry import pad_to_multiple
from mpn.kinds import ImageSize


class Cost(typing.NamedTuple):
    """The cost of a block."""

    parameters: int  # with the statistics of batch normalization, and the outputs that only training uses
    multiply_adds: int  # for one image at inference, and for one person in the PRN


def cost_table(config, height, width):
    """Returns a dict of block name to Cost; the last entry is the total for an image with one person.

    `height` and `width` are those of the network's input in pixels, multiples of 32.
    """
    import keras  # brings TensorFlow: not before `import_tensorflow`

    from mpn.models.networks import Networks
    from mpn.models.person import BACKBONE_LEVELS

    networks = Networks(config)
    backbone, keypoint_subnet, prn = networks.backbone, networks.keypoint_subnet, networks.prn
    person_subnet = networks.person_detector.subnet
    image = keras.Input((height, width, 3), batch_size=1)
    features = backbone(image)
    # Inference leaves out the outputs of K2-K5, which have losses in training.
    heatmaps = keras.Model(keypoint_subnet.input, keypoint_subnet.output["heatmaps"])
    blocks = {
        f"backbone ({config.backbone}{', dilated' if config.dilated else ''})": (backbone, backbone, image),
        "keypoint subnet": (keypoint_subnet, heatmaps, features),
        "person subnet": (person_subnet, person_subnet, {level: features[level] for level in BACKBONE_LEVELS}),
        "pose residual network": (prn, prn, keras.Input(prn.input.shape[1:], batch_size=1)),
    }
    table = {
        name: Cost(all_.count_params(), multiply_adds(run, inputs)) for name, (all_, run, inputs) in blocks.items()
    }
    return table | {"total": Cost(*map(sum, zip(*table.values(), strict=True)))}


def multiply_adds(model, inputs):
    """Counts the multiply-adds of one call of a model in its TensorFlow graph, without running it.

    `inputs` has the structure of `model.input` and consists of KerasTensors with a batch of 1 and known sizes. Raises
    ValueError where a size, or the cost of a kernel, is unknown.
    """
    import keras
    import tensorflow as tf

    specs = keras.tree.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), inputs)
    graph = (
        tf.function(lambda values: model(values, training=False), autograph=False).get_concrete_function(specs).graph
    )
    return sum(map(_of_operation, graph.get_operations()))


def _of_operation(operation):
    # How many axes of the kernel are summed over: rows, columns and, but for depthwise ones, channels.
    summed = {"Conv2D": 3, "DepthwiseConv2dNative": 2, "MatMul": 1}.get(operation.type)
    if summed is None:
        if "Conv" in operation.type or "Call" in operation.type:
            raise ValueError(f"the cost of {operation.name} ({operation.type}) is not known")
        return 0
    shape = operation.outputs[0].shape
    if None in shape:
        raise ValueError(f"{operation.name} gives {shape}: the inputs' sizes must be known")
    return math.prod(shape) * math.prod(operation.inputs[1].shape[:summed])


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("--model", metavar="DIR", help="a model directory, instead of --backbone")
    parser.add_argument("--backbone", choices=BACKBONE_NAMES, default="resnet50")
    parser.add_argument(
        "--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST] side in pixels"
    )
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.model_directory import load_config

    config = load_config(options.model) if options.model else ModelConfig(**named_backbone(options.backbone))
    height, width = (pad_to_multiple(side) for side in options.image_size)
    print(f"{f'{height} x {width} pixels, one person':<32}{'parameters':>14}{'multiply-adds':>18}")
    for name, cost in cost_table(config, height, width).items():
        print(f"{name:<32}{cost.parameters:>14,}{cost.multiply_adds:>18,}")


if __name__ == "__main__":
    run(main)
