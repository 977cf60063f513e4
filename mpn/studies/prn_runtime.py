"""Prints size, time and, with --annotations, AP of several PRNs as a Markdown table.

`python -m mpn.studies.prn_runtime --model DIR --model DIR --people 1 5 20 --annotations FILE`
"""

import functools

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import module_parser
from mpn.evaluation.coco import load_labels
from mpn.evaluation.runtime import PRECISIONS, crowd, medians
from mpn.evaluation.tables import markdown
from mpn.inference.export_folder import refuse_export
from mpn.kinds import positive_int
from mpn.studies.grouping_tables import grouping_metrics

# Height and width in pixels of the image that shows the people.
IMAGE_SIZE = (480, 800)


def measure(model_dirs, people=(1, 5, 20), repeats=20, annotations=None):
    """Measures the PRNs of model directories or shipped models, and returns a dict of column to value for each.

    Times are medians in milliseconds of `MultiPoseNet.group` (RoIs, PRN, scoring, assignment) for each number in
    `people`. All models and precisions take turns, so compare times of one call only. With `annotations`, a COCO
    keypoints JSON, there is also the AP of grouping alone.
    """
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.weights import STORAGES, stored_bytes

    for model_dir in model_dirs:
        refuse_export(model_dir)
    truth = load_labels(annotations) if annotations else None
    models = {
        (number, precision): MultiPoseNet.load(model_dir, parts=("prn",), precision=precision)
        for number, model_dir in enumerate(model_dirs)
        for precision in PRECISIONS
    }
    times = {}
    for count in people:
        detections = crowd(count, IMAGE_SIZE)
        times[count] = medians({key: functools.partial(m.group, detections) for key, m in models.items()}, repeats)
    rows = []
    for number, model_dir in enumerate(model_dirs):
        prn = models[number, "float32"].networks.prn
        row = {"PRN": str(model_dir), "parameters": f"{prn.count_params():,}"}
        row |= {f"MB {storage}": f"{stored_bytes(prn.weights, storage) / 1e6:.2f}" for storage in STORAGES}
        for precision in PRECISIONS:
            for count in people:
                column = f"ms {precision}, {count} {'person' if count == 1 else 'people'}"
                row[column] = f"{1000 * times[count][number, precision]:.2f}"
        for precision in PRECISIONS if truth else ():
            row[f"AP {precision}"] = grouping_metrics(models[number, precision], *truth)["AP"]
        rows.append(row)
    return rows


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    names = "model directory or shipped model; repeat it"
    parser.add_argument("--model", metavar="DIR", action="append", required=True, help=names)
    parser.add_argument("--people", type=positive_int, nargs="+", default=[1, 5, 20], help="numbers of people to time")
    parser.add_argument("--repeats", type=positive_int, default=20, help="timed calls each; the median counts")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz): AP of grouping alone")
    options = parser.parse_args(argv)
    import_tensorflow()
    rows = measure(options.model, list(dict.fromkeys(options.people)), options.repeats, options.annotations)
    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    if options.annotations:
        print("\nAP: keypoints and boxes are ground truth, so it measures grouping alone, not the whole system.")


if __name__ == "__main__":
    run(main)
