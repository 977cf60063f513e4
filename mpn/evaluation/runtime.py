"""Times a prediction by stage and number of people (§4.5, Fig. 6).

`python -m mpn.evaluation.runtime photo.jpg --model DIR --output OUT` prints a table and draws a chart. Made-up boxes
and peaks replace those that the network finds, so untrained weights take as long as trained ones.
"""

import functools
import pathlib
import platform
import re
import statistics
import time

import numpy as np

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.config import BACKBONES, ModelConfig
from mpn.environment import cores
from mpn.evaluation.charts import INK, new_figure, plain, save
from mpn.evaluation.tables import markdown, write_csv
from mpn.files import make_writable, read_bytes
from mpn.images import decode_image
from mpn.inference.export_folder import refuse_export
from mpn.inference.grouping import build_people
from mpn.kinds import ImageSize, positive_int
from mpn.lazy import tf
from mpn.people import Detections
from mpn.skeleton import NUM_KEYPOINTS

# In order; the last two depend on the number of people.
STAGES = ("decode and resize", "backbone and subnets", "peaks and NMS", "PRN", "grouping")

# All stages in the graphs of `detect` and `group`; `predict` joins these two.
WHOLE = "whole image"

# Fig. 6: "1 to 20 people"; §4.5 and Table 1 name 1, 3 and 20.
PEOPLE = (1, 2, 3, 5, 10, 15, 20)

PRECISIONS = ("float32", "bfloat16")

# Colour-blind people can tell these apart.
_COLOURS = dict(zip(STAGES, ("#56b4e9", "#0072b2", "#009e73", "#e69f00", "#d55e00"), strict=True))


def stage_times(model, images, people=PEOPLE, repeats=20):
    """Measures each stage, warm: the median of `repeats` runs for each image, and the mean over images.

    `images` maps names, for messages, to bytes of image files; UserError where they are no image. Returns a dict of
    numbers of people to dicts of STAGES and WHOLE to seconds. "PRN" includes RoIs and scores of candidates; "grouping"
    is the assignment of peaks to people. Each stage is timed alone, so WHOLE is not quite their sum.
    """
    for name, data in images.items():
        decode_image(data, name)  # reports a damaged one before minutes of work
    times = [_times_of_image(model, data, people, repeats) for data in images.values()]
    return {
        count: {stage: statistics.fmean(one[stage, count] for one in times) for stage in (*STAGES, WHOLE)}
        for count in people
    }


def _times_of_image(model, data, people, repeats):
    """Maps (stage, number of people) to seconds, for one image."""
    image = decode_image(data, "image")
    inputs, _ = model.prepare(image)
    find_peaks = functools.partial(model.peaks_and_boxes, model.forward_graph(*inputs), *inputs)
    slots = find_peaks()["peaks"].shape[1]
    shared = {
        "decode and resize": lambda: model.prepare(decode_image(data, "image")),
        "backbone and subnets": functools.partial(model.forward_graph, *inputs),
        "peaks and NMS": find_peaks,
    }

    def whole(detections):
        model.detect(decode_image(data, "image"))
        model.group(detections)

    stages = dict(shared)
    for count in people:
        detections = crowd(count, image.shape[:2], slots)
        stages["PRN", count], stages["grouping", count] = halves_of_grouping(model, detections)
        stages[WHOLE, count] = functools.partial(whole, detections)
    times = medians(stages, repeats)
    return {**times, **{(stage, count): times[stage] for stage in shared for count in people}}


def halves_of_grouping(model, detections):
    """A MultiPoseNet's `group` in two: the graph with RoIs, PRN and scores of candidates, and the rest.

    Returns two functions without arguments; the second gives the people.
    """
    inputs = model._group_inputs([detections])
    found = model._group_graph(*inputs)

    def rest():
        model._group_inputs([detections])
        scored = found["candidates"], found["guesses"], found["guess_scores"]
        return build_people(model.grouping, detections, *scored, model.assignment)

    return lambda: model._group_graph(*inputs), rest


def crowd(people, image_size, slots=0):
    """Makes Detections of a row of overlapping people with all keypoints, padded with 0 to `slots` peaks of each."""
    height, width = image_size
    left = np.linspace(0, 0.8 * width, people)[:, None]
    boxes = (left * (1, 0, 1, 0) + (0, 0, 0.2 * width, height)).astype(np.float32)
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, (NUM_KEYPOINTS, people, 2))
    peaks = np.zeros((NUM_KEYPOINTS, max(people, slots), 2), np.float32)
    peaks[:, :people] = boxes[None, :, :2] + shares * (boxes[None, :, 2:] - boxes[None, :, :2])
    peak_scores = np.zeros(peaks.shape[:2], np.float32)
    peak_scores[:, :people] = 1
    return Detections(boxes, np.ones(people, np.float32), peaks, peak_scores)


def medians(stages, repeats):
    """Maps the names of functions to their median seconds over `repeats` calls, after one that does not count.

    The functions take turns: whatever else the machine does slows all of them alike, and each finds the caches as the
    others leave them.
    """
    times = {name: [] for name in stages}
    for _ in range(repeats + 1):
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def report(times, folder=None):
    """Prints a dict of precision to `stage_times`, and writes runtime.csv and runtime.png into an existing folder."""
    rows = [
        [precision, count, *(1000 * stages[stage] for stage in (*STAGES, WHOLE))]
        for precision, by_people in times.items()
        for count, stages in by_people.items()
    ]
    lines = [
        [precision, count, *(f"{time:.1f}" for time in ms), f"{1000 / ms[-1]:.1f}"] for precision, count, *ms in rows
    ]
    print(f"Milliseconds an image on {device()}:\n")
    print(markdown(["precision", "people", *STAGES, WHOLE, "images a second"], lines))
    if folder is not None:
        table, chart = pathlib.Path(folder, "runtime.csv"), pathlib.Path(folder, "runtime.png")
        columns = [f"{stage.replace(' ', '_')}_ms" for stage in (*STAGES, WHOLE)]
        write_csv(table, ["precision", "people", *columns], rows)
        save(draw_times(times), chart)
        print(f"\ntable and chart in {table} and {chart}")


def draw_times(times):
    """Draws the times of `report`, stacked, by number of people: a matplotlib Figure, a panel per precision."""
    figure = new_figure(6.6 * len(times), 5.2)
    panels = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for axes, (precision, by_people) in zip(panels, times.items(), strict=True):
        plain(axes, grid="y")
        names = list(map(str, sorted(by_people)))
        ms = {stage: np.array([1000 * by_people[int(name)][stage] for name in names]) for stage in (*STAGES, WHOLE)}
        bottom = np.zeros(len(names))
        for stage, colour in _COLOURS.items():
            axes.bar(names, ms[stage], bottom=bottom, color=colour, label=stage)
            bottom += ms[stage]
        line = {"color": INK, "markersize": 4, "linewidth": 1, "label": f"{WHOLE}, with images a second"}
        axes.plot(names, ms[WHOLE], "o-", **line)
        at = {"textcoords": "offset points", "ha": "center", "color": INK}
        for place, height in enumerate(ms[WHOLE]):
            axes.annotate(f"{1000 / height:.3g}", (place, height), (0, 10), **at)
        axes.set_xlabel("people in the image")
        axes.set_title(f"{precision}, {device()}", color=INK, fontsize="medium")
        axes.margins(y=0.12)
    panels[0].set_ylabel("milliseconds an image")
    legend = {"loc": "outside lower center", "ncols": 1 + len(times), "frameon": False, "labelcolor": INK}
    figure.legend(*panels[0].get_legend_handles_labels(), **legend)
    return figure


def device():
    """What the networks run on, in words."""
    if gpus := tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU")
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return f"{cores()} cores of {name[1] if name else platform.processor() or platform.machine()}"


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="photographs; times are means over them")
    parser.add_argument("--model", metavar="DIR", help="model directory or shipped model; default: random weights")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50", help="of the random weights")
    parser.add_argument("--image-size", action=ImageSize, metavar="SIDE", default=(384, 576), help="SHORTER [LONGEST]")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="+", default=PRECISIONS, help="one or both")
    parser.add_argument("--people", type=positive_int, nargs="+", default=PEOPLE, help="numbers; default: %(default)s")
    parser.add_argument("--repeats", type=positive_int, default=20, help="of each stage; the median of these counts")
    parser.add_argument("--output", metavar="DIR", help="write runtime.csv and runtime.png there")
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.models.networks import Networks

    if options.model:
        refuse_export(options.model)
    images = {path: read_bytes(path, "image") for path in options.images}
    if options.output:
        make_writable(options.output)
    random = None if options.model else Networks(ModelConfig(backbone=options.backbone))
    times = {}
    for precision in dict.fromkeys(options.precision):
        settings = {"image_size": options.image_size, "precision": precision}
        model = MultiPoseNet(random, **settings) if random else MultiPoseNet.load(options.model, **settings)
        times[precision] = stage_times(model, images, list(dict.fromkeys(options.people)), options.repeats)
    report(times, options.output)


if __name__ == "__main__":
    run(main)
