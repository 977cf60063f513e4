"""Pictures for `evaluate.py --errors`: what errors cost, where keypoints are wrong, and the worst poses."""

import numpy as np

from mpn.data.coco import read_record
from mpn.evaluation.charts import INK, new_figure, plain
from mpn.evaluation.errors.gains import in_words
from mpn.evaluation.errors.pose_errors import ERRORS, GOOD, INVERSION, NOT_LABELLED
from mpn.evaluation.tables import as_share
from mpn.skeleton import LIMBS

# After Okabe and Ito: people who confuse red and green can tell these colours apart.
_COLOURS = dict(zip(ERRORS, ("#44aa55", "#56b4e9", "#e69f00", "#cc79a7", "#d55e00"), strict=True))
_NO_ERROR = "#777777"
_WRONG = ERRORS[1:]
_UNITS = dict.fromkeys((*_WRONG, "outside the box"), "keypoints") | {"not found": "people"}
_UNITS |= {"duplicates": "detections", "background": "detections"}


def draw_errors(counts, gained):
    """A Figure of the AP that each correction gains, and of wrong keypoints by overlapping people and by joint.

    `counts` come from `summarise`, `gained` from `gains`.
    """
    figure = new_figure(14, 9.5)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    panels = figure.subplot_mosaic([["gains", "overlap"], ["keypoints", "keypoints"]], width_ratios=[1.35, 1])
    _draw_gains(panels["gains"], counts, gained)
    found = {name: (row["found"], row["found"] + row["not found"]) for name, row in counts["overlap"].items()}
    labels = [f"{name}\n{some:,}\nof {whole:,}\nfound" for name, (some, whole) in found.items()]
    _draw_shares(panels["overlap"], counts["overlap"], labels, "wrong keypoints by overlapping people")
    panels["overlap"].set_xlabel("other people who overlap the person")
    labels = [name.replace("_", "\n") for name in counts["keypoints"]]
    _draw_shares(panels["keypoints"], counts["keypoints"], labels, "wrong keypoints by joint")
    legend = {"ncols": len(_WRONG), "frameon": False, "labelcolor": INK}
    panels["keypoints"].legend(loc="lower right", bbox_to_anchor=(1, 1), **legend)
    return figure


def _draw_gains(axes, counts, gained):
    """Draws a bar for each correction: its gain, and how many things it corrects."""
    numbers = counts["overlap"]["all"] | counts["detections"]["all"]
    numbers["outside the box"] = sum(counts["box"]["outside"][kind] for kind in _WRONG)
    corrected = {name: row["gain"] for name, row in gained.items() if "gain" in row}
    names = [f"{name}: {numbers[name]:,} {_UNITS[name]}" if name in numbers else name for name in corrected]
    plain(axes, "x")
    colours = [_COLOURS.get(name, _NO_ERROR) for name in corrected]
    bars = axes.barh(names, [gain or 0 for gain in corrected.values()], color=colours)
    axes.bar_label(bars, [in_words(gain) for gain in corrected.values()], padding=5, color=INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    before = gained["as it is"]["AP"]
    axes.set_title("AP gained if corrected alone" + (f"; AP as it is {as_share(before)}" if before >= 0 else ""))


def _draw_shares(axes, rows, labels, title):
    """Draws a stacked bar for each row: the percentage of each error among its labelled keypoints."""
    plain(axes, "y")
    wholes = np.array([sum(row[kind] for kind in ERRORS) for row in rows.values()])
    places = [*range(len(rows) - 1), len(rows) - 0.6]  # the last row, "all", stands apart
    heights = np.zeros(len(rows))
    for kind in _WRONG:
        shares = 100 * np.array([row[kind] for row in rows.values()]) / np.maximum(wholes, 1)
        bars = axes.bar(places, shares, bottom=heights, color=_COLOURS[kind], width=0.7, label=kind)
        heights += shares
    texts = [f"{height:.0f}" if whole else "none" for height, whole in zip(heights, wholes, strict=True)]
    axes.bar_label(bars, texts, padding=3, color=INK)
    axes.set_xticks(places, labels)
    axes.margins(x=0.01)
    axes.set_ylim(0, 1.1 * heights.max() or 1)  # axes.margins leaves no room above bars without height
    axes.set_ylabel("% of labelled keypoints")
    axes.set_title(title)


def draw_worst(matches, results, records=()):
    """A Figure with a panel for each Match: labels in grey, the pose with dots in the colours of its errors.

    A dotted line leads from each wrong keypoint to its true place. `results` are those that were diagnosed. Images of
    `records` are drawn behind the poses if they exist.
    """
    columns = min(5, len(matches))
    rows = -(-len(matches) // columns)
    figure = new_figure(3.4 * columns, 3.7 * rows + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    paths = {record.id: record for record in records if record.path is not None and record.path.is_file()}
    for axes in panels:
        axes.set_axis_off()
    for axes, match in zip(panels, matches, strict=False):
        result = results[match.result]
        pose, labelled = np.reshape(result["keypoints"], match.truth.shape), match.errors != NOT_LABELLED
        for points, colour, width in ((match.truth, "#999999", 3), (pose, INK, 1.5)):
            for limb in map(list, LIMBS):
                if labelled[limb].all():
                    axes.plot(*points[limb, :2].T, color=colour, linewidth=width)
        for joint in np.flatnonzero(match.errors >= INVERSION):
            axes.plot(*np.stack([pose[joint, :2], match.truth[joint, :2]]).T, ":", color=INK, linewidth=1)
        for kind in range(GOOD, len(ERRORS)):
            axes.scatter(*pose[match.errors == kind, :2].T, s=28, color=_COLOURS[ERRORS[kind]], zorder=3)
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.1)
        axes.invert_yaxis()
        axes.autoscale(False)
        if result["image_id"] in paths:
            axes.imshow(read_record(paths[result["image_id"]]), alpha=0.5, zorder=0)
        axes.set_title(f"image {result['image_id']}: OKS {match.oks:.2f}", color=INK, fontsize="medium")
    handles = [panels[0].scatter([], [], color=_COLOURS[kind], label=kind) for kind in ERRORS]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(ERRORS), frameon=False, labelcolor=INK)
    return figure
