"""Prints the cost of training the three stages: operations, bytes that devices exchange, and hours.

`python -m mpn.studies.training_cost --backbone resnet101 --rate 100`

Multiply-adds are those of `mpn.studies.cost`; one is two floating-point operations (FLOPs). The backward pass counts as
two forward passes, and layers that keep their weights have none. Validation, about 1 %, is left out.
"""

import dataclasses
import math

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.evaluation.tables import markdown
from mpn.kinds import positive_float
from mpn.studies.cost import cost_table, multiply_adds

HEADER = (
    *("stage", "samples an epoch", "epochs", "GFLOPs a sample", "EFLOPs in all"),
    *("gradients, MB a step", "checkpoint, MB", "hours"),
)

# COCO train2017: images with a person, and people with two keypoints or more.
SAMPLES = {"keypoints": 64115, "person": 64115, "prn": 146543}

# Batches of four of these images are padded to 1.27 million pixels on average in stage 2, as many as this.
PERSON_INPUT = (1120, 1120)


@dataclasses.dataclass(frozen=True)
class StageCost:
    """The cost of training one stage."""

    operations: int  # FLOPs of a sample, forward and backward
    parameters: int  # of the stage's model, batch normalization statistics included
    trained: int  # those with gradients

    @property
    def gradient_bytes(self):
        """float32 gradients, which devices exchange in each step."""
        return 4 * self.trained

    @property
    def checkpoint_bytes(self):
        """The weights, and Adam's two moments of those that are trained, in float32."""
        return 4 * (self.parameters + 2 * self.trained)


def stage_costs(config, image_size, person_input=PERSON_INPUT):
    """Returns a dict of stage to StageCost for a ModelConfig.

    `image_size` is the side of the patches of stage 1, and `person_input` the height and width in stage 2, in pixels.
    """
    import keras  # brings TensorFlow: not before `import_tensorflow`

    from mpn.models.networks import Networks

    networks = Networks(config)
    model = networks.keypoint_model()
    patch = keras.Input((image_size, image_size, 3), batch_size=1)
    backbone, _, person, prn, _ = cost_table(config, *person_input).values()
    detector = networks.person_detector
    return {
        "keypoints": StageCost(6 * multiply_adds(model, patch), model.count_params(), _trained(model)),
        "person": StageCost(
            2 * backbone.multiply_adds + 6 * person.multiply_adds, detector.count_params(), _trained(detector.subnet)
        ),
        "prn": StageCost(6 * prn.multiply_adds, networks.prn.count_params(), _trained(networks.prn)),
    }


def _trained(model):
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def cost_rows(costs, epochs, rate):
    """Rows of HEADER from `stage_costs`, a dict of stage to epochs, and a number of samples a second."""
    rows = []
    for stage, cost in costs.items():
        samples = SAMPLES[stage] * epochs[stage]
        rows.append(
            (
                *(stage, f"{SAMPLES[stage]:,}", epochs[stage], f"{cost.operations / 1e9:,.1f}"),
                f"{cost.operations * samples / 1e18:.3g}",
                *(f"{size / 1e6:,.0f}" for size in (cost.gradient_bytes, cost.checkpoint_bytes)),
                f"{samples / rate / 3600:,.1f}",
            )
        )
    return rows


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig
    from mpn.training.settings import KeypointTraining, PersonTraining, PrnTraining

    parser = module_parser(__spec__, __doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument(
        "--rate", type=positive_float, default=100.0, help="samples a second, from which hours are computed"
    )
    options = parser.parse_args(argv)
    import_tensorflow()
    config = ModelConfig(backbone=options.backbone)
    stages = (KeypointTraining(), PersonTraining(), PrnTraining())
    costs = stage_costs(config, stages[0].image_size)
    print(markdown(HEADER, cost_rows(costs, {stage.stage: stage.epochs for stage in stages}, options.rate)))


if __name__ == "__main__":
    run(main)
