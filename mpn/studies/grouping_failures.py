"""What goes wrong when the PRN groups true keypoints into true boxes (Table 3, "Both GT"): causes counted, worst drawn.

`python -m mpn.studies.grouping_failures --model DIR --annotations FILE --output DIR` needs labels alone. It prints
what became of every labelled keypoint and which people lose most, writes the same figures to `causes.json`, and draws
the people with the lowest OKS: the labels on the left, the result on the right. With --coco the photographs lie
beneath.
"""

import argparse
import pathlib

import numpy as np

from mpn.cli.arguments import add_coco_option, natural, positive_int
from mpn.cli.script import import_tensorflow, run
from mpn.data.coco import annotation_file, image_folder, load_annotations, read_record
from mpn.errors import UserError
from mpn.files import make_writable, write_json
from mpn.images import write_image
from mpn.studies.failure_drawing import contact_sheet, draw_failure, legend
from mpn.studies.grouping_verdicts import CAUSES, judge_all, summarise, worst_people


def print_summary(summary):
    """Prints the tables of `summarise`."""
    print(f"{summary['images']} images, {summary['people']} people, {summary['keypoints']} labelled keypoints")
    print("keypoints and boxes are ground truth: this measures grouping alone, not the whole system")
    print(f"mean OKS {summary['mean_oks']:.4f}; recall at OKS .50 to .95 {summary['recall']:.4f}")
    _print_table("what became of a keypoint", summary["causes"], "keypoints", "recall", "recall if right")
    for title, kind in (
        ("IoU with the most overlapping box", "overlap"),
        ("labelled keypoints of a person", "labelled keypoints"),
    ):
        _print_table(title, summary[kind], "people", "mean_oks", "mean OKS")
    _print_table("keypoint", summary["joints"], "labelled", "wrong", "wrong")


def _print_table(title, rows, counted, extra, extra_title):
    print(f"\n{title:<44}{counted:>10}{'share':>9}{'of the loss':>13}{extra_title:>17}")
    for name, row in rows.items():
        value = "-" if row[extra] is None else f"{row[extra]:.4f}"
        print(f"{name:<44}{row['count']:>10}{100 * row['share']:>7.2f} %{100 * row['loss']:>11.1f} %{value:>17}")


# --- pictures ---------------------------------------------------------------------------------------------------


def _photograph(record):
    """The image of a record, or None where its file is not at hand."""
    return read_record(record) if record.path is not None and record.path.is_file() else None


def write_report(folder, verdicts, worst, settings=None):
    """Writes `causes.json`, one picture for each of the worst people, and `contact_sheet.png` with all of these.

    Args:
        folder: pathlib.Path, made if need be.
        verdicts: list of Verdicts.
        worst: how many people to draw.
        settings: dict of what the figures were measured with.

    Returns:
        dict, what `causes.json` holds: that of `summarise`, with settings, and "worst": a list of {image_id, box, oks,
        overlap, causes (count of each), picture (file name)}.

    Raises:
        UserError: a photograph is damaged or of another size than its annotations say.
        OSError: a file cannot be written.
    """
    make_writable(folder)
    report = summarise(verdicts) | {"settings": settings or {}, "worst": []}
    small = []
    for number, (image, person) in enumerate(worst_people(verdicts, worst), start=1):
        photograph = _photograph(image.record)
        picture = draw_failure(image, person, photograph=photograph)
        small.append(draw_failure(image, person, side=400, photograph=photograph))
        name = f"worst_{number:02d}.png"  # not by image id, so that a second run leaves no pictures of the first
        write_image(folder / name, np.concatenate([picture, legend(picture.shape[1])]))
        causes = image.causes[person]
        report["worst"].append(
            {
                "image_id": image.record.id,
                "box": [round(float(value), 2) for value in image.record.boxes[person]],
                "oks": float(image.oks[person]),
                "overlap": float(image.overlaps[person]),
                "causes": {name: int((causes == i).sum()) for i, name in enumerate(CAUSES) if (causes == i).any()},
                "picture": name,
            }
        )
    if small:
        write_image(folder / "contact_sheet.png", contact_sheet(small))
    write_json(folder / "causes.json", report, indent=2)
    return report


def main(argv=None):
    import_tensorflow()
    from mpn.inference.multiposenet import MultiPoseNet
    from mpn.precision import INFERENCE_PRECISIONS

    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz); default: that of --coco")
    add_coco_option(parser)
    parser.add_argument("--split", choices=("val", "train"), default="val", help="part of --coco")
    parser.add_argument("--output", metavar="DIR", default="grouping_failures", help="folder of pictures and figures")
    parser.add_argument("--worst", type=natural, default=10, metavar="N", help="people to draw")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images only")
    parser.add_argument("--precision", choices=INFERENCE_PRECISIONS, default="auto", help="bfloat16 where it is fast")
    options = parser.parse_args(argv)
    if not options.annotations and not options.coco:
        raise UserError("no labels: give --annotations FILE, or --coco DIR for photographs as well")
    path = options.annotations or annotation_file(options.coco, options.split)
    folder = image_folder(options.coco, options.split) if options.coco else None
    records = load_annotations(path, folder, options.limit)
    output = pathlib.Path(options.output)
    make_writable(output)  # before minutes of grouping, not after
    model = MultiPoseNet.load(options.model, parts=["prn"], precision=options.precision)
    settings = {
        "annotations": str(path),
        "model": str(options.model),
        "margin": model.config.prn_margin,
        "window": model.config.prn_window,
        "assignment": model.assignment,
        "precision": model.precision,
    }
    report = write_report(output, judge_all(model, records), options.worst, settings)
    print_summary(report)
    print(f"\n{len(report['worst'])} pictures and causes.json in {output}")


if __name__ == "__main__":
    run(main)
