"""Prints how well each grouping does with true keypoints and boxes (Table 3, right), and with imperfect ones.

`python -m mpn.studies.grouping_tables --model DIR --annotations FILE`; it needs no images.
"""

import dataclasses
import functools

import numpy as np
from tqdm import tqdm

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import add_options, module_parser
from mpn.data.imperfect import PERFECT, Imperfections, boxes_at_iou
from mpn.evaluation.coco import evaluate_keypoints, load_labels
from mpn.evaluation.results import keypoint_results
from mpn.evaluation.tables import markdown
from mpn.training.settings import PrnTraining

GROUPINGS_COMPARED = ("max", "ucr", "geometric", "prn")

# Everything is a little wrong at once, as in detections: errors of the keypoints, and IoU of boxes with the true ones.
SPOILT = (Imperfections(displacement=0.25, dropped=0.1, false_peaks=0.1), 0.8)

# Rows of the second table: name, errors of the keypoints, and IoU of boxes with the true ones.
CONDITIONS = (
    ("perfect", PERFECT, 1.0),
    ("boxes at IoU 0.9", PERFECT, 0.9),
    ("boxes at IoU 0.8", PERFECT, 0.8),
    ("boxes at IoU 0.7", PERFECT, 0.7),
    ("keypoints displaced by 0.25", Imperfections(displacement=0.25), 1.0),
    ("keypoints displaced by 0.5", Imperfections(displacement=0.5), 1.0),
    ("10 % of keypoints missing", Imperfections(dropped=0.1), 1.0),
    ("30 % of keypoints missing", Imperfections(dropped=0.3), 1.0),
    ("10 % false peaks", Imperfections(false_peaks=0.1), 1.0),
    ("30 % false peaks", Imperfections(false_peaks=0.3), 1.0),
    ("all: IoU 0.8, displaced by 0.25, 10 % missing, 10 % false", *SPOILT),
)


def grouping_metrics(model, records, ground_truth, imperfections=PERFECT, iou=1.0, rescore=None):
    """Groups keypoints and boxes of the labels, and returns the metrics of `evaluate_keypoints`.

    `model` is a MultiPoseNet, `records` a list of ImageRecord, whose labels the COCO object `ground_truth` holds.
    `imperfections` are errors to give the keypoints, and `iou` is the IoU that boxes are to have with the true ones.
    `rescore`, a function from Person to pose score, replaces the grouping's own score.
    """
    from mpn.evaluation.sources import find_people, with_true_boxes, with_true_keypoints

    add_keypoints = functools.partial(with_true_keypoints, imperfections=imperfections)

    def add_boxes(detections, record):
        true = with_true_boxes(detections, record)
        rng = np.random.default_rng([abs(record.id), 1])
        return true if iou == 1 else dataclasses.replace(true, boxes=boxes_at_iou(true.boxes, iou, rng))

    results = []
    for record, (people, _) in zip(records, find_people(model, records, add_keypoints, add_boxes), strict=True):
        if rescore:
            people = [dataclasses.replace(person, score=float(rescore(person))) for person in people]
        results += keypoint_results(record.id, people)
    return evaluate_keypoints(ground_truth, results, [record.id for record in records])


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("--annotations", metavar="FILE", required=True, help="COCO keypoints JSON (or .gz)")
    add_options(parser, PrnTraining, "model", "limit")
    options = parser.parse_args(argv)
    import_tensorflow()
    from mpn.inference.multiposenet import MultiPoseNet

    records, ground_truth = load_labels(options.annotations, options.limit)
    models = {name: MultiPoseNet.load(options.model, ("prn",), grouping=name) for name in GROUPINGS_COMPARED}
    metrics = {
        condition: {name: grouping_metrics(model, records, ground_truth, *spoilt) for name, model in models.items()}
        for condition, *spoilt in tqdm(CONDITIONS, unit="condition")
    }
    print(f"{len(records)} images, true keypoints and boxes: grouping alone, not the system")
    names = ("AP", "AP50", "AP75", "APM", "APL")
    perfect = metrics["perfect"].items()
    print(markdown(["grouping", *names], [[grouping, *(m[n] for n in names)] for grouping, m in perfect]))
    rows = [[condition, *(m["AP"] for m in of.values())] for condition, of in metrics.items()]
    print(markdown(["input, AP", *models], rows))


if __name__ == "__main__":
    run(main)
