"""Parameters and multiply-adds of every block of the network, as in the paper's supplementary material (§4.5).

`python -m mpn.studies.cost --backbone resnet50 --image-size 384 576` prints the table.
"""

import argparse
import dataclasses

from mpn.cli.arguments import ImageSize
from mpn.cli.script import import_tensorflow, run
from mpn.model_directory import load_config

# What every input side is padded to, see `MultiPoseNet.prepare`.
_MULTIPLE = 32


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a block costs.

    Attributes:
        parameters: int; batch normalisation statistics count, and the outputs that only training supervises.
        multiply_adds: int, of one image at inference; those of the PRN are for one person.
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
        dict of block name to Cost, the total last: of an image with one person.
    """
    import keras  # which brings TensorFlow: not before `import_tensorflow`

    from mpn.models.networks import Networks
    from mpn.models.person import BACKBONE_LEVELS
    from mpn.studies.multiply_adds import multiply_adds

    networks = Networks(config)
    backbone, keypoint_subnet, prn = networks.backbone, networks.keypoint_subnet, networks.prn
    person_subnet = networks.person_detector.subnet
    image = keras.Input((height, width, 3), batch_size=1)
    features = backbone(image)
    # Supervision of K2-K5 is for training; at inference the graph leaves it out.
    heatmaps = keras.Model(keypoint_subnet.input, keypoint_subnet.output["heatmaps"])
    person_features = {level: features[level] for level in BACKBONE_LEVELS}
    name = f"backbone ({config.backbone}{', dilated' if config.dilated else ''})"
    table = {
        name: Cost(backbone.count_params(), multiply_adds(backbone, image)),
        "keypoint subnet": Cost(keypoint_subnet.count_params(), multiply_adds(heatmaps, features)),
        "person subnet": Cost(person_subnet.count_params(), multiply_adds(person_subnet, person_features)),
        "pose residual network": Cost(
            prn.count_params(), multiply_adds(prn, keras.Input(prn.input.shape[1:], batch_size=1))
        ),
    }
    return {**table, "total": sum(table.values(), Cost(0, 0))}


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
    height, width = (-(-side // _MULTIPLE) * _MULTIPLE for side in options.image_size)
    print(f"{f'{height} x {width} pixels, one person':<32}{'parameters':>14}{'multiply-adds':>18}")
    for name, cost in cost_table(config, height, width).items():
        print(f"{name:<32}{cost.parameters:>14,}{cost.multiply_adds:>18,}")


if __name__ == "__main__":
    run(main)
