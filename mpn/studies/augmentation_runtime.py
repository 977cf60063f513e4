"""What test-time augmentation costs (§4.2): `python -m mpn.studies.augmentation_runtime photo.jpg --mirror`.

Compares one prediction from several views with predictions from each view alone, which find peaks and group them every
time. Without --model the weights are random: the network takes as long, and finds nobody.
"""

import argparse

from mpn.cli.arguments import ImageSize, numbers, positive_int
from mpn.cli.script import import_tensorflow, run
from mpn.evaluation.runtime import medians
from mpn.model_directory import load_networks


def view_times(networks, image, augmentation, repeats=5, image_size=None, precision="auto"):
    """Median time of a prediction from each view alone and from all of them together, warm.

    Args:
        networks: Networks.
        image: (H, W, 3) uint8 RGB.
        augmentation: Augmentation.
        repeats: calls of each, after one that is not counted.
        image_size, precision: see MultiPoseNet.

    Returns:
        dict of the views' names, and "together", to seconds.
    """
    from mpn.inference.multiposenet import MultiPoseNet

    class OneView(MultiPoseNet):
        """Sees what it is told to see."""

        def prepare(self, image, *_):
            return super().prepare(image, *self.view)

    together = MultiPoseNet(networks, image_size, precision, augmentation=augmentation)
    single = OneView(networks, image_size, precision)
    stages = {}

    def add_stage(part, factor, mirrored):
        def alone():
            single.view = factor, mirrored
            return single.predict(part)

        inputs, scale = together.prepare(part, factor, mirrored)
        _, height, width, _ = inputs[0].shape
        stages[f"{len(stages) + 1}: {height} x {width}{', mirrored' if mirrored else ''}"] = alone
        return inputs, scale

    augmentation.views(image, add_stage)
    return medians({**stages, "together": lambda: together.predict(image)}, repeats)


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig

    parser = argparse.ArgumentParser(
        description="Times a prediction with test-time augmentation against its views alone.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", help="a photograph")
    parser.add_argument("--model", metavar="DIR", help="model directory; without one, random weights")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="for random weights")
    parser.add_argument("--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST]")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of the network")
    parser.add_argument("--scales", type=numbers, default=(0.5, 1.0, 1.5, 2.0), help="see `evaluate.py`")
    parser.add_argument("--mirror", action="store_true", help="see `evaluate.py`")
    parser.add_argument("--crops", type=positive_int, default=1, help="see `evaluate.py`")
    parser.add_argument("--repeats", type=positive_int, default=5, help="runs of each; the median counts")
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.images import read_image
    from mpn.inference.views import Augmentation
    from mpn.models.networks import Networks

    networks = load_networks(options.model) if options.model else Networks(ModelConfig(backbone=options.backbone))
    augmentation = Augmentation(options.scales, options.mirror, options.crops)
    image = read_image(options.image)
    times = view_times(networks, image, augmentation, options.repeats, options.image_size, options.precision)
    together = times.pop("together")
    for name, seconds in times.items():
        print(f"view {name:<26}{1000 * seconds:>10.1f} ms")
    alone = sum(times.values())
    print(f"{'sum of the views alone':<31}{1000 * alone:>10.1f} ms")
    print(f"{'together':<31}{1000 * together:>10.1f} ms, {100 * (together / alone - 1):+.1f} %")


if __name__ == "__main__":
    run(main)
