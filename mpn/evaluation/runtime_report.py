"""Times by stage and number of people as a table, a file and a chart like the paper's Fig. 6."""

import os
import pathlib
import platform

from mpn.errors import UserError
from mpn.evaluation.charts import INK, new_figure, plain, save
from mpn.evaluation.runtime import STAGES, WHOLE, stage_times
from mpn.evaluation.tables import markdown, write_csv
from mpn.files import make_replaceable, make_writable, read_bytes, write_json

# RGB hexadecimal of the stages, told apart by people who see few colours too.
_COLOURS = dict(zip(STAGES, ("#56b4e9", "#0072b2", "#009e73", "#e69f00", "#d55e00"), strict=True))


def time_stages(options):
    """What `evaluate.py --runtime` does: times a model, prints a table, writes OUTPUT/runtime.csv and .png.

    Args:
        options: namespace of `evaluate.py`; `runtime` is a list of images, or [] for the photograph that scikit-image
            ships.

    Raises:
        UserError: what a user can put right, such as an image that does not exist.
    """
    from mpn.evaluation.models import load_model

    _check(options)
    images = {path: read_bytes(path, "image") for path in options.runtime} or {"example": _example()}
    make_writable(options.output)
    if options.metrics:
        make_replaceable(options.metrics)
    model = load_model(options)
    times = {model.precision: stage_times(model, images)}
    if options.metrics:
        settings = {"device": device(), "images": len(images), "image_size": list(model.config.image_size)}
        write_json(options.metrics, {"runtime": times, "settings": settings}, indent=2)
    report(times, options.output)


def report(times, folder=None):
    """Prints times as a Markdown table, and writes `runtime.csv` and `runtime.png`.

    The file has a line for each precision and number of people, with the stages' times in milliseconds.

    Args:
        times: dict of precision to what `stage_times` gives.
        folder: where the files go, which exists; None writes none.

    Raises:
        OSError: a file cannot be written.
    """
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
        folder = pathlib.Path(folder)
        columns = [f"{stage.replace(' ', '_')}_ms" for stage in (*STAGES, WHOLE)]
        write_csv(folder / "runtime.csv", ["precision", "people", *columns], rows)
        save(draw_times(times), folder / "runtime.png")
        print(f"\ntable and chart in {folder / 'runtime.csv'} and {folder / 'runtime.png'}")


def draw_times(times):
    """A matplotlib Figure of the stages' times on top of each other, over the number of people.

    Args:
        times: see `report`; each precision has a panel.
    """
    figure = new_figure(6.6 * len(times), 5.2)
    panels = figure.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for axes, (precision, by_people) in zip(panels, times.items(), strict=True):
        _draw_panel(axes, sorted(by_people), by_people)
        axes.set_title(f"{precision}, {device()}", color=INK, fontsize="medium")
    panels[0].set_ylabel("milliseconds an image")
    panels[0].set_ylim(0, 1.12 * max(axes.dataLim.ymax for axes in panels))
    legend = {"loc": "outside lower center", "ncols": 1 + len(times), "frameon": False, "labelcolor": INK}
    figure.legend(*panels[0].get_legend_handles_labels(), **legend)
    return figure


def _draw_panel(axes, people, by_people):
    """Draws the times for some numbers of people, least first."""
    plain(axes, grid="y")
    # One number alone makes an area, too.
    edges = people if len(people) > 1 else [people[0] - 0.5, people[0] + 0.5]
    shown = people if len(people) > 1 else people * 2
    bottom = [0.0] * len(shown)
    for stage, colour in _COLOURS.items():
        top = [low + 1000 * by_people[count][stage] for low, count in zip(bottom, shown, strict=True)]
        axes.fill_between(edges, bottom, top, color=colour, linewidth=0, label=stage)
        bottom = top
    whole = [1000 * by_people[count][WHOLE] for count in people]
    axes.plot(people, whole, "o-", color=INK, markersize=4, linewidth=1, label=f"{WHOLE}, with images a second")
    for count, time in zip(people, whole, strict=True):
        if count in (people[0], people[-1]) or count % 5 == 0:
            at = {"textcoords": "offset points", "ha": "center", "color": INK}
            axes.annotate(f"{1000 / time:.3g}", (count, time), (0, 10), **at)
    axes.set(xlabel="people in the image", xticks=people)


def _check(options):
    for name in ("prn_clusters", "refine"):
        if getattr(options, name):
            raise UserError(f"--runtime only times a model: leave out --{name.replace('_', '-')}")
    if options.oks_threshold is not None:
        raise UserError("--runtime times a model without OKS-NMS: leave out --oks-threshold")
    if options.mirror or options.crops > 1 or tuple(options.scales) != (1.0,):
        raise UserError(
            "--runtime times one pass of the network: leave out --scales, --mirror and --crops, whose cost "
            "`python -m mpn.studies.augmentation_runtime` measures"
        )


def device():
    """What the networks run on, in words: str."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {_processor()}"


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _example():
    """The photograph that scikit-image ships, as the bytes of a file."""
    import cv2
    from skimage import data

    return cv2.imencode(".jpg", cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))[1].tobytes()
