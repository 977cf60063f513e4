"""Prints the parameters and multiply-adds of every block of a network, as in the paper's supplement (§4.5).

`python -m mpn.studies.cost --backbone resnet50 --image-size 384 576`

Each weight in the kernel of a convolution or dense layer counts once for every place of the output, padding included.
Other layers do not count: they are about 1 % here. One multiply-add is two floating-point operations (FLOPs).
"""

import argparse
import dataclasses
import math

from mpn.cli.script import import_tensorflow, run
from mpn.geometry import pad_to_multiple
from mpn.model_directory import load_config
from mpn.settings import ImageSize


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a block.

    `parameters` includes batch normalization statistics and the outputs that only training uses. `multiply_adds` is for
    one image at inference, and for one person in the PRN.
    """

    parameters: int
    multiply_adds: int

    def __add__(self, other):
        return Cost(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)


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
    """Counts the multiply-adds of one call of a functional model from the shapes of its layers, without running it.

    `inputs` has the structure of `model.input` and consists of KerasTensors with a batch of 1 and known sizes. A model
    inside `model` counts as often as it is called. Raises ValueError where a size, or the cost of a kernel, is unknown.
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
    # The clone shares the layers: layers of its own would need the memory of the weights again.
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
