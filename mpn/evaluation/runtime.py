"""Time per image by stage and number of people (§4.5, Fig. 6).

`python -m mpn.evaluation.runtime photo.jpg --output DIR` times float32 against bfloat16; `evaluate.py --runtime` does
the same for one model in one precision. Whatever the network finds, boxes and peaks of as many people as are asked for
are put in its place for the PRN, so that untrained weights do as well: the network takes as long.
"""

import argparse
import statistics
import time

import numpy as np

from mpn.cli.arguments import ImageSize, positive_int
from mpn.cli.script import import_tensorflow, run
from mpn.skeleton import NUM_KEYPOINTS

# One after the other; the last two depend on the number of people.
STAGES = ("decode and resize", "backbone and subnets", "peaks and NMS", "PRN", "grouping")

# One `predict`, which runs the middle stages in one graph.
WHOLE = "whole image"

# Fig. 6: "1 to 20 people"; §4.5 and Table 1 name 1, 3 and 20.
PEOPLE = (1, 2, 3, 5, 10, 15, 20)

REPEATS = 20


def stage_times(model, images, people=PEOPLE, repeats=REPEATS):
    """Time of each stage, warm: the median of repeated runs for each image, and the mean over images.

    Args:
        model: MultiPoseNet.
        images: dict of names, for messages, to bytes of image files.
        people: numbers of people that PRN and grouping are given.
        repeats: runs of each stage on each image, after one that is not counted. All stages take turns.

    Returns:
        dict of numbers of people to dicts of STAGES and WHOLE to seconds. "decode and resize" is from bytes to the
        network's input; "PRN" has RoIs and scores of candidates; "grouping" is the assignment of peaks to people. Each
        stage is timed alone, and WHOLE in one go, so that it is not quite their sum.

    Raises:
        UserError: the bytes are no image; the message names it.
    """
    from mpn.evaluation.runtime_graphs import Crowded, PeaksAlone
    from mpn.images import decode_image

    for name, data in images.items():
        decode_image(data, name)  # a damaged one is named now, not after minutes
    # One of each for all images: TensorFlow makes their graphs once.
    alone, crowded = PeaksAlone(model), Crowded(model)
    times = [_times_of_image(model, alone, crowded, data, people, repeats) for data in images.values()]
    return {
        count: {stage: statistics.fmean(one[stage, count] for one in times) for stage in (*STAGES, WHOLE)}
        for count in people
    }


def _times_of_image(model, alone, crowded, data, people, repeats):
    """dict of (stage, number of people) to seconds, for one image."""
    from mpn.evaluation.runtime_graphs import halves_of_grouping
    from mpn.images import decode_image

    image = decode_image(data, "image")
    inputs, scale = model.prepare(image)
    alone.look_at(model.forward_graph(*inputs))
    slots = alone.run(inputs)["peaks"].shape[1]
    shared = {
        "decode and resize": lambda: model.prepare(decode_image(data, "image")),
        "backbone and subnets": lambda: model.forward_graph(*inputs),
        "peaks and NMS": lambda: alone.run(inputs),
    }
    stages = dict(shared)
    for count in people:
        detections = crowd(count, image.shape[:2], slots)
        stages["PRN", count], stages["grouping", count] = halves_of_grouping(model, detections)

        def whole(detections=detections):  # bound here, since a function made in a loop sees the loop's last one
            crowded.put_in(detections, scale)  # takes 0.2 ms
            crowded.predict(decode_image(data, "image"))

        stages[WHOLE, count] = whole
    times = medians(stages, repeats)
    return {**times, **{(stage, count): times[stage] for stage in shared for count in people}}


def crowd(people, image_size, slots=0):
    """Detections of a row of overlapping people, each with all keypoints.

    Args:
        people: how many.
        image_size: (H, W) of the image in pixels.
        slots: places for peaks of each keypoint, as the network always gives 30; those without a peak are 0.
    """
    from mpn.inference.multiposenet import Detections

    height, width = image_size
    left = np.linspace(0, 0.8 * width, people)
    boxes = np.stack([left, left * 0, left + 0.2 * width, left * 0 + height], axis=1).astype(np.float32)
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, (NUM_KEYPOINTS, people, 2))
    peaks = np.zeros((NUM_KEYPOINTS, max(people, slots), 2), np.float32)
    peaks[:, :people] = boxes[None, :, :2] + shares * (boxes[None, :, 2:] - boxes[None, :, :2])
    peak_scores = np.zeros(peaks.shape[:2], np.float32)
    peak_scores[:, :people] = 1
    return Detections(boxes, np.ones(people, np.float32), peaks, peak_scores)


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


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig

    parser = argparse.ArgumentParser(
        prog="python -m mpn.evaluation.runtime",
        description="Times every stage of a prediction, in float32 and in bfloat16.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="photographs")
    parser.add_argument("--model", metavar="DIR", help="model directory; default: random weights")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="for random weights")
    parser.add_argument("--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST]")
    parser.add_argument("--people", type=positive_int, nargs="+", default=list(PEOPLE), help="numbers of people")
    parser.add_argument("--repeats", type=positive_int, default=REPEATS, help="runs a stage; the median counts")
    parser.add_argument("--output", metavar="DIR", help="write runtime.csv and runtime.png there")
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.evaluation.runtime_report import report
    from mpn.files import make_writable, read_bytes
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.models.networks import Networks

    images = {path: read_bytes(path, "image") for path in options.images}
    if options.output:
        make_writable(options.output)
    # A number given twice would be timed twice and shown once.
    people = list(dict.fromkeys(options.people))
    random = None if options.model else Networks(ModelConfig(backbone=options.backbone))
    times = {}
    for precision in ("float32", "bfloat16"):
        if options.model:
            model = MultiPoseNet.load(options.model, image_size=options.image_size, precision=precision)
        else:
            model = MultiPoseNet(random, options.image_size, precision)
        times[precision] = stage_times(model, images, people, options.repeats)
    report(times, options.output)


if __name__ == "__main__":
    run(main)
