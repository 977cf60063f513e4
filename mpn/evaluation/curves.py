"""Recall-precision curves of keypoints for people of all, medium and large areas, as in the paper's supplement (§4.2).

The mean of a curve is COCO's AP at its OKS threshold. T = 10 thresholds, R = 101 recalls, A = 3 ranges of area.
"""

import dataclasses

import numpy as np

from mpn.evaluation.charts import INK, new_figure, plain, save
from mpn.evaluation.coco import accumulate
from mpn.evaluation.tables import as_share, write_csv

# COCO's ranges of a person's mask area, and their titles.
AREAS = {"all": "all people", "medium": "medium: 32² to 96² pixels", "large": "large: from 96² pixels"}

COLUMNS = ("area", "oks", "recall", "precision")


@dataclasses.dataclass(frozen=True)
class Curves:
    """Precision over recall."""

    thresholds: np.ndarray  # (T,) float64: OKS, .50 to .95
    recalls: np.ndarray  # (R,) float64: 0 to 1
    # (T, R, A) float64 in [0, 1], in the order of AREAS: the largest precision at that recall or above; 0 where the
    # recall is not reached, -1 where nobody has that area.
    precisions: np.ndarray

    @property
    def average_precisions(self):
        """(T, A) float64: COCO's AP at each threshold; -1 where nobody has that area."""
        return self.precisions.mean(axis=1)


def recall_precision_curves(ground_truth, results, image_ids):
    """The Curves of keypoint results; arguments as for `evaluate_keypoints`."""
    evaluation = accumulate(ground_truth, results, image_ids)
    areas = [evaluation.params.areaRngLbl.index(name) for name in AREAS]
    precisions = evaluation.eval["precision"][:, :, 0, areas, 0]
    return Curves(np.asarray(evaluation.params.iouThrs), np.asarray(evaluation.params.recThrs), precisions)


def write_curves(folder, ground_truth, results, image_ids):
    """Writes recall_precision.csv, a line of COLUMNS for each point, and recall_precision.png; returns the Curves.

    `folder` is a pathlib.Path and exists; the other arguments are as for `evaluate_keypoints`.
    """
    curves = recall_precision_curves(ground_truth, results, image_ids)
    write_csv(folder / "recall_precision.csv", COLUMNS, _points(curves))
    save(draw_curves(curves), folder / "recall_precision.png")
    print(f"recall-precision curves in {folder}")
    return curves


def _points(curves):
    """Lines of COLUMNS, without areas that nobody has."""
    for index, area in enumerate(AREAS):
        for threshold, precisions in zip(curves.thresholds, curves.precisions[..., index], strict=True):
            if (precisions >= 0).all():
                for recall, precision in zip(curves.recalls, precisions, strict=True):
                    yield area, f"{threshold:.2f}", f"{recall:.2f}", precision


def draw_curves(curves):
    """A matplotlib Figure with a panel for each area and the AP of each curve in its legend."""
    from matplotlib import colormaps

    figure = new_figure(14, 6.4)
    figure.get_layout_engine().set(w_pad=0.12)
    panels = figure.subplots(1, len(AREAS), sharex=True, sharey=True)
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(curves.thresholds)))
    for index, (axes, title) in enumerate(zip(panels, AREAS.values(), strict=True)):
        plain(axes)
        averages = curves.average_precisions[:, index]
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall")
        measured = averages.min() >= 0
        axes.set_title(f"{title}; AP {as_share(averages.mean())}" if measured else title, color=INK)
        if not measured:
            axes.text(0.5, 0.5, "nobody has this size", ha="center", color=INK)
            continue
        for threshold, average, precisions, colour in zip(
            curves.thresholds, averages, curves.precisions[..., index], colours, strict=True
        ):
            label = f"OKS {as_share(threshold, 2)}: AP {as_share(average)}"
            shown = slice(np.count_nonzero(precisions) + 1)  # down to the axis, not along it
            axes.plot(curves.recalls[shown], precisions[shown], color=colour, linewidth=2, label=label, clip_on=False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False, labelcolor=INK)
    panels[0].set_ylabel("precision")
    return figure
