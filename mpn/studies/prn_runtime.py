"""Size, time and quality of PRNs side by side, as a Markdown table.

`python -m mpn.studies.prn_runtime --model DIR --model DIR --people 1 5 20 --annotations FILE`
"""

import argparse

from mpn.cli.arguments import positive_int
from mpn.cli.script import import_tensorflow, run
from mpn.evaluation.tables import markdown

PRECISIONS = ("float32", "bfloat16")

# Height and width in pixels of the image that the people are put in.
IMAGE_SIZE = (480, 800)


def measure(model_dirs, people=(1, 5, 20), repeats=20, annotations=None):
    """What the PRNs of some model directories cost, and how well they group.

    Args:
        model_dirs: model directories, or names of shipped models; only the PRN's weights are read.
        people: numbers of people to time.
        repeats: timed calls of every model for every number of people.
        annotations: COCO keypoints JSON for "AP"; None leaves that out.

    Returns:
        list of dicts, one a model directory:
            "model": str, as given.
            "parameters": int, of the PRN.
            "bytes": dict of "float32" and "float16" to int, of its weights in a file stored so.
            "seconds": dict of (precision, number of people) to the median time of one call of `MultiPoseNet.group`:
                RoIs, PRN, scoring and assignment for a row of overlapping people, see `crowd`. All models and
                precisions take turns: compare them within one run.
            "AP": dict of precision to float in 0-1, of grouping alone: keypoints and boxes are the ground truth.

    Raises:
        UserError: a model directory or the annotations cannot be read.
    """
    from mpn.evaluation.runtime import crowd, medians
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.studies.grouping_tables import grouping_metrics
    from mpn.weights import STORAGES, stored_bytes

    truth = _load_truth(annotations) if annotations else None
    models = {
        (row, precision): MultiPoseNet.load(model_dir, parts=("prn",), precision=precision)
        for row, model_dir in enumerate(model_dirs)
        for precision in PRECISIONS
    }
    times = {}
    for count in people:
        detections = crowd(count, IMAGE_SIZE)
        # Bound here, since a function made in a loop sees the loop's last model.
        calls = {key: (lambda model=model, seen=detections: model.group(seen)) for key, model in models.items()}
        times[count] = medians(calls, repeats)
    rows = []
    for row, model_dir in enumerate(model_dirs):
        prn = models[row, "float32"].networks.prn
        rows.append(
            {
                "model": str(model_dir),
                "parameters": prn.count_params(),
                "bytes": {storage: stored_bytes(prn.weights, storage) for storage in STORAGES},
                "seconds": {(p, count): times[count][row, p] for p in PRECISIONS for count in people},
                "AP": {p: grouping_metrics(models[row, p], *truth)["AP"] for p in PRECISIONS} if truth else {},
            }
        )
    return rows


def _load_truth(path):
    from mpn.evaluation.coco import check_labelled, load_labels

    records, ground_truth = load_labels(path)
    check_labelled(records, path)
    return records, ground_truth


def table(rows):
    """Rows of `measure` as a Markdown table: str. Sizes in MB of a million bytes, times in milliseconds."""
    first = rows[0]
    head = ["PRN", "parameters", *(f"MB {storage}" for storage in first["bytes"])]
    head += [f"ms {precision}, {_people(count)}" for precision, count in first["seconds"]]
    head += [f"AP {precision}" for precision in first["AP"]]
    lines = [
        [
            row["model"],
            f"{row['parameters']:,}",
            *(f"{size / 1e6:.2f}" for size in row["bytes"].values()),
            *(f"{1000 * seconds:.2f}" for seconds in row["seconds"].values()),
            *row["AP"].values(),
        ]
        for row in rows
    ]
    return markdown(head, lines)


def _people(count):
    return "1 person" if count == 1 else f"{count} people"


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mpn.studies.prn_runtime",
        description="Prints size, time and, with --annotations, AP of PRNs as a Markdown table.",
    )
    parser.add_argument(
        "--model", metavar="DIR", action="append", required=True, help="model directory or shipped model; repeat it"
    )
    parser.add_argument("--people", type=positive_int, nargs="+", default=[1, 5, 20], help="numbers of people to time")
    parser.add_argument("--repeats", type=positive_int, default=20, help="timed calls each; the median counts")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz): AP of grouping alone")
    options = parser.parse_args(argv)
    import_tensorflow()
    # A number given twice would be timed and shown once.
    people = list(dict.fromkeys(options.people))
    print(table(measure(options.model, people, options.repeats, options.annotations)))
    if options.annotations:
        print("\nAP: keypoints and boxes are ground truth, so it measures grouping alone, not the whole system.")


if __name__ == "__main__":
    run(main)
