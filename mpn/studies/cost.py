"""Parameters and multiply-adds of every block of the network, as in the paper's supplementary material (§4.5).

`python -m mpn.studies.cost --backbone resnet50 --image-size 384 576` prints the table.

A multiply-add is one weight of the kernel of a convolution or dense layer at one place of its output, padding included.
Other layers (normalisation, sums, upsampling, pooling, softmax) do not count: they are about 1 % here. One multiply-add
is two floating-point operations (FLOPs).
"""

import argparse
import dataclasses
import math

from mpn.cli.arguments import ImageSize
from mpn.cli.script import import_tensorflow, run
from mpn.geometry import pad_to_multiple
from mpn.model_directory import load_config


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a block costs.

    Attributes:
        parameters: int, with batch normalisation statistics and the outputs that only training supervises.
        multiply_adds: int, of one image at inference; of one person for the PRN.
    """

    parameters: int
    multiply_adds: int

    def __add__(self, other):
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


def cost_table(config, height, width):
    """What every block costs.

    Args:
        config: ModelConfig.
        height, width: of the network's input in pixels, multiples of 32.

    Returns:
        dict of block name to Cost; the total, of an image with one person, is last.
    """
    import keras  # brings TensorFlow: not before `import_tensorflow`

    from mpn.models.networks import Networks
    from mpn.models.person import BACKBONE_LEVELS

    networks = Networks(config)
    backbone, keypoint_subnet, prn = networks.backbone, networks.keypoint_subnet, networks.prn
    person_subnet = networks.person_detector.subnet
    image = keras.Input((height, width, 3), batch_size=1)
    features = backbone(image)
    # At inference the graph leaves out the outputs of K2-K5, which only training supervises.
    heatmaps = keras.Model(keypoint_subnet.input, keypoint_subnet.output["heatmaps"])
    person_features = {level: features[level] for level in BACKBONE_LEVELS}
    roi = keras.Input(prn.input.shape[1:], batch_size=1)
    table = {
        f"backbone ({config.backbone}{', dilated' if config.dilated else ''})": (backbone, backbone, image),
        "keypoint subnet": (keypoint_subnet, heatmaps, features),
        "person subnet": (person_subnet, person_subnet, person_features),
        "pose residual network": (prn, prn, roi),
    }
    table = {
        name: Cost(block.count_params(), multiply_adds(graph, inputs)) for name, (block, graph, inputs) in table.items()
    }
    return {**table, "total": sum(table.values(), Cost(0, 0))}


def multiply_adds(model, inputs):
    """Multiply-adds of one call of a functional model, from the shapes of its layers; nothing is computed.

    Args:
        model: functional keras.Model; a model inside it counts as often as it is called.
        inputs: keras.Input or KerasTensor with a batch of 1 and known sizes, or a structure of them as `model.input`.

    Returns:
        int.

    Raises:
        ValueError: the cost of a layer with a kernel is not known, or a size is not known.
    """
    import keras

    total = 0

    def call(layer, *arguments, **options):
        nonlocal total
        outputs = layer(*arguments, **options)
        total += multiply_adds(layer, arguments[0]) if isinstance(layer, keras.Model) else _of_layer(layer, outputs)
        return outputs

    def like(old, tensor):
        return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=old.name)

    fresh = keras.tree.map_structure(like, model.input, inputs)
    # Calls the same layers on other inputs: a clone with its own layers would need the memory of the weights again.
    keras.models.clone_model(model, fresh, clone_function=lambda layer: layer, call_function=call)
    return total


def _of_layer(layer, outputs):
    from keras import layers

    if not isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        if any(len(weight.shape) > 1 for weight in layer.weights):
            raise ValueError(f"layer {layer.name} ({type(layer).__name__}) has a kernel, and its cost is not known")
        return 0
    # (B, H, W, channels) of a convolution, (B, ..., units) of a dense layer.
    if None in outputs.shape:
        raise ValueError(f"layer {layer.name} gives {outputs.shape}: the inputs' sizes must be known")
    return math.prod(outputs.shape[:-1]) * math.prod(layer.kernel.shape)


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig

    parser = argparse.ArgumentParser(description="Prints parameters and multiply-adds of every block of a network.")
    parser.add_argument("--model", metavar="DIR", help="a model directory, instead of --backbone")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument("--dilated", action="store_true")
    parser.add_argument(
        "--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST] side in pixels"
    )
    options = parser.parse_args(argv)
    config = ModelConfig(backbone=options.backbone, dilated=options.dilated)
    if options.model:
        config = load_config(options.model)
    import_tensorflow()
    height, width = (pad_to_multiple(side) for side in options.image_size)
    print(f"{f'{height} x {width} pixels, one person':<32}{'parameters':>14}{'multiply-adds':>18}")
    for name, cost in cost_table(config, height, width).items():
        print(f"{name:<32}{cost.parameters:>14,}{cost.multiply_adds:>18,}")


if __name__ == "__main__":
    run(main)
