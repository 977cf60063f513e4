"""Time per image by stage (§4.5): `python -m mpn.evaluation.runtime photo.jpg` times float32 against bfloat16.

Without --model the weights are random: the network takes as long, and finds nobody, so boxes and peaks of as many
people as --people says are put in for the grouping.
"""

import argparse
import statistics
import time

import numpy as np

from mpn.arguments import ImageSize, positive_int
from mpn.cli import import_tensorflow, run
from mpn.skeleton import NUM_KEYPOINTS

STAGES = ("decode and resize", "network", "peaks, NMS, PRN and grouping", "PRN and grouping alone", "whole image")


def stage_times(model, data, people=20, repeats=20):
    """Median time of each stage on one image, warm.

    Args:
        model: MultiPoseNet.
        data: bytes of an image file.
        people: number of people that the PRN and the grouping are given, whatever the network finds.
        repeats: runs a stage, after one that is not counted.

    Returns:
        dict of STAGES to seconds. "whole image" is decoding and one `predict` with that many people; "peaks, NMS, PRN
        and grouping", all that comes after the network, is the rest of it. "PRN and grouping alone" is timed in a graph
        of its own, in which nothing else runs beside it.
    """
    from mpn.images import decode_image

    image = decode_image(data, "image")
    inputs, scale = model.prepare(image)
    detections = crowd(people, image.shape[:2])
    crowded = _with_crowd(model, detections, scale)
    times = {
        "decode and resize": _median(lambda: model.prepare(decode_image(data, "image")), repeats),
        "network": _median(lambda: model.forward_graph(*inputs), repeats),
        "PRN and grouping alone": _median(lambda: model.group(detections), repeats),
        "whole image": _median(lambda: crowded.predict(decode_image(data, "image")), repeats),
    }
    rest = times["whole image"] - times["network"] - times["decode and resize"]
    times["peaks, NMS, PRN and grouping"] = max(rest, 0.0)
    return {stage: times[stage] for stage in STAGES}


def _with_crowd(model, detections, scale):
    """A model like `model` that works as always and then takes these Detections instead of what it found."""
    import tensorflow as tf

    from mpn.inference.predictor import MultiPoseNet

    # Variables, so that TensorFlow cannot compute anything of them when the graph is made.
    put_in = {
        "boxes": tf.Variable(detections.boxes * np.tile(scale, 2)),
        "box_scores": tf.Variable(detections.box_scores),
        "peaks": tf.Variable(detections.peaks * scale),
        "peak_scores": tf.Variable(detections.peak_scores),
    }

    class Crowded(MultiPoseNet):
        def _detected(self, images, size):
            found = super()._detected(images, size)
            # Returned too, so that TensorFlow cannot leave out their computation.
            unused = {f"unused_{name}": found[name] for name in ("boxes", "box_scores", "peaks", "peak_scores")}
            return {**found, **unused, **put_in}

    return Crowded(model.networks, model.config.image_size, model.precision, model.grouping)


def crowd(people, image_size):
    """Detections of a row of overlapping people, each with all keypoints.

    Args:
        people: how many.
        image_size: (H, W) of the image in pixels.
    """
    from mpn.inference.predictor import Detections

    height, width = image_size
    left = np.linspace(0, 0.8 * width, people)
    boxes = np.stack([left, left * 0, left + 0.2 * width, left * 0 + height], axis=1).astype(np.float32)
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, (NUM_KEYPOINTS, people, 2))
    peaks = boxes[None, :, :2] + shares * (boxes[None, :, 2:] - boxes[None, :, :2])
    ones = np.ones((NUM_KEYPOINTS, people), np.float32)
    return Detections(boxes, ones[0], peaks.astype(np.float32), ones)


def medians(stages, repeats):
    """Median time of each of some functions, warm.

    They take turns, so that what else the machine does meanwhile slows all of them alike, and each finds the caches as
    the others leave them.

    Args:
        stages: dict of names to functions without arguments.
        repeats: calls of each, after one that is not counted.

    Returns:
        dict of names to seconds.
    """
    for stage in stages.values():
        stage()
    times = {name: [] for name in stages}
    for _ in range(repeats):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _median(stage, repeats):
    return medians({"stage": stage}, repeats)["stage"]


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig

    parser = argparse.ArgumentParser(description="Times every stage of a prediction, in float32 and in bfloat16.")
    parser.add_argument("image", metavar="IMAGE", help="a photograph")
    parser.add_argument("--model", metavar="DIR", help="model directory; default: random weights")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="for random weights")
    parser.add_argument("--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST]")
    parser.add_argument("--people", type=positive_int, default=20, help="people for the grouping")
    parser.add_argument("--repeats", type=positive_int, default=20, help="runs a stage; the median counts")
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.files import read_bytes
    from mpn.inference.predictor import MultiPoseNet
    from mpn.models.multiposenet import Networks

    data = read_bytes(options.image, "image")
    random = Networks(ModelConfig(backbone=options.backbone))
    table = {}
    for precision in ("float32", "bfloat16"):
        if options.model:
            model = MultiPoseNet.load(options.model, image_size=options.image_size, precision=precision)
        else:
            model = MultiPoseNet(random, options.image_size, precision)
        table[precision] = stage_times(model, data, options.people, options.repeats)
    print(f"{'milliseconds an image':<30}" + "".join(f"{precision:>12}" for precision in table) + f"{'ratio':>8}")
    for stage in STAGES:
        slow, fast = (1000 * times[stage] for times in table.values())
        print(f"{stage:<30}{slow:>12.1f}{fast:>12.1f}{slow / max(fast, 1e-9):>8.2f}")
    for precision, times in table.items():
        share = times["peaks, NMS, PRN and grouping"] / times["whole image"]
        print(f"{precision}: {100 * share:.1f} % of the time after the network, with {options.people} people")


if __name__ == "__main__":
    run(main)
