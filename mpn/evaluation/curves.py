"""Recall-precision curves of keypoints for people of all, medium and large areas, as in the paper's supplement (§4.2).

The mean of a curve is COCO's AP at its OKS threshold. T = 10 thresholds, R = 101 recalls, A = 3 ranges of area.
"""

import numpy as np

from mpn.evaluation.charts import INK, new_figure, plain, save
from mpn.evaluation.coco import accumulate
from mpn.evaluation.tables import as_share, write_csv

# COCO's ranges of a person's mask area, and their titles.
AREAS = {"all": "all people", "medium": "medium: 32² to 96² pixels", "large": "large: from 96² pixels"}

COLUMNS = ("area", "oks", "recall", "precision")


def recall_precision_curves(ground_truth, results, image_ids):
    """(T,) OKS thresholds, (R,) recalls, and (T, R, A) float64 precisions; arguments as for `evaluate_keypoints`.

    Precisions, in the order of AREAS, are the largest at that recall or above; 0 where the recall is not reached, -1
    where nobody has that area.
    """
    evaluation = accumulate(ground_truth, results, image_ids)
    areas = [evaluation.params.areaRngLbl.index(name) for name in AREAS]
    return evaluation.params.iouThrs, evaluation.params.recThrs, evaluation.eval["precision"][:, :, 0, areas, 0]


def write_curves(folder, ground_truth, results, image_ids):
    """Writes recall_precision.csv, a line of COLUMNS a point, and .png into a Path that exists; returns the curves."""
    curves = recall_precision_curves(ground_truth, results, image_ids)
    write_csv(folder / "recall_precision.csv", COLUMNS, _points(*curves))
    save(draw_curves(*curves), folder / "recall_precision.png")
    print(f"recall-precision curves in {folder}")
    return curves


def _points(thresholds, recalls, precisions):
    """Lines of COLUMNS, without areas that nobody has."""
    for (a, t, r), precision in np.ndenumerate(np.moveaxis(precisions, 2, 0)):
        if precision >= 0:
            yield list(AREAS)[a], f"{thresholds[t]:.2f}", f"{recalls[r]:.2f}", precision


def draw_curves(thresholds, recalls, precisions):
    """A matplotlib Figure with a panel for each area and the AP of each curve in its legend."""
    from matplotlib import colormaps

    figure = new_figure(14, 6.4)
    figure.get_layout_engine().set(w_pad=0.12)
    panels = figure.subplots(1, len(AREAS), sharex=True, sharey=True)
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(thresholds)))
    for axes, title, of_area in zip(panels, AREAS.values(), np.moveaxis(precisions, 2, 0), strict=True):
        plain(axes)
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall")
        measured = of_area.min() >= 0
        axes.set_title(f"{title}; AP {as_share(of_area.mean())}" if measured else title, color=INK)
        if not measured:
            axes.text(0.5, 0.5, "nobody has this size", ha="center", color=INK)
            continue
        for threshold, curve, colour in zip(thresholds, of_area, colours, strict=True):
            label = f"OKS {as_share(threshold, 2)}: AP {as_share(curve.mean())}"
            shown = slice(np.count_nonzero(curve) + 1)  # down to the axis, not along it
            axes.plot(recalls[shown], curve[shown], color=colour, linewidth=2, label=label, clip_on=False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False, labelcolor=INK)
    panels[0].set_ylabel("precision")
    return figure
