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


def stage_times(model, data, people=20, repeats=20):
    """Median time of each stage on one image, warm.

    Args:
        model: MultiPoseNet.
        data: bytes of an image file.
        people: number of people that the grouping is given.
        repeats: runs a stage, after one that is not counted.

    Returns:
        dict of stage to seconds: "decode and resize", "network", "peaks and NMS", "PRN and grouping", and "predict",
        the whole of one call, timed on its own with the people that the model itself finds.
    """
    from mpn.images import decode_image

    image = decode_image(data, "image")
    inputs, _ = model.prepare(image)
    detections = crowd(people, image.shape[:2])
    stages = {
        "decode and resize": lambda: model.prepare(decode_image(data, "image")),
        "network": lambda: model.forward_graph(*inputs),
        "network, peaks and NMS": lambda: model.detect(image),
        "PRN and grouping": lambda: model.group(detections),
        "predict": lambda: model.predict(image),
    }
    times = {name: _median(stage, repeats) for name, stage in stages.items()}
    both = times.pop("network, peaks and NMS")
    times["peaks and NMS"] = max(both - times["network"], 0.0)
    return {name: times[name] for name in _ORDER}


_ORDER = ("decode and resize", "network", "peaks and NMS", "PRN and grouping", "predict")


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


def _median(stage, repeats):
    stage()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        stage()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


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
            model = MultiPoseNet.load(options.model, options.image_size, precision)
        else:
            model = MultiPoseNet(random, options.image_size, precision)
        table[precision] = stage_times(model, data, options.people, options.repeats)
    print(f"{'milliseconds an image':<24}" + "".join(f"{precision:>12}" for precision in table) + f"{'ratio':>8}")
    for stage in _ORDER:
        slow, fast = (1000 * times[stage] for times in table.values())
        print(f"{stage:<24}{slow:>12.1f}{fast:>12.1f}{slow / max(fast, 1e-9):>8.2f}")
    for precision, times in table.items():
        after = times["peaks and NMS"] + times["PRN and grouping"]
        share = after / (after + times["network"] + times["decode and resize"])
        print(f"{precision}: {100 * share:.1f} % of the total after the network, with {options.people} people")


if __name__ == "__main__":
    run(main)
