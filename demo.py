"""Finds people in photographs, videos or before a camera: boxes, keypoints and silhouettes, drawn and as JSON.

Examples:
    python demo.py
    python demo.py photo.jpg holiday/ 'party/*.jpg' clip.mp4 --output results
    python demo.py --camera 0
"""

import argparse

import mpn.cli.script
from mpn.cli.arguments import LEAST_POSE_SCORE, ImageSize, add_view_options, natural, share

# Models that come with the package.
_MODEL, _REFINER = "small", "small-refiner"


def main(argv=None):
    """Parses the command line and runs the demo; returns the exit status, 1 where a file was skipped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    shared = {
        "threshold": arguments.threshold,
        "image_size": arguments.image_size,
        "precision": arguments.precision,
        "scales": arguments.scales,
        "mirror": arguments.mirror,
        "crops": arguments.crops,
        "refine": arguments.refine,
    }
    if arguments.refine and arguments.no_refine:
        parser.error("--refine and --no-refine exclude each other")
    if arguments.camera is not None:
        if arguments.inputs or arguments.show or arguments.fields or arguments.rle:
            parser.error("--camera writes no files: it takes neither inputs nor --show, --fields or --rle")

    # Imported after parsing, so that --help and mistyped options answer at once.
    if arguments.camera is not None:
        from mpn.demo.camera import run_camera

        return run_camera(arguments.camera, arguments.model, **shared)
    from mpn.demo.run import run_demo

    # Time counts in a film, and in a photograph limbs do.
    if not arguments.refine and not arguments.no_refine and arguments.model == _MODEL:
        shared |= {"refine": _REFINER, "refine_videos": False}
    return run_demo(
        arguments.inputs,
        arguments.output,
        arguments.model,
        show=arguments.show,
        fields=arguments.fields,
        rle=arguments.rle,
        **shared,
    )


def _parser():
    parser = argparse.ArgumentParser(
        description="Finds people in images and videos. For each image NAME.jpg it writes NAME_poses.jpg, a drawing, "
        "and NAME_poses.json: boxes, scores and 17 keypoints a person, in pixels of the image. For each video it "
        "writes NAME_poses.mp4 and NAME_poses.jsonl, one line a frame.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="image or video file, a folder of them, or a quoted pattern such as 'holiday/*.jpg' "
        "(default: a photograph that scikit-image ships)",
    )
    parser.add_argument(
        "--model",
        metavar="DIR",
        default=_MODEL,
        help="model directory, or the name of a model that comes with the package (default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="results", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument(
        "--camera",
        type=natural,
        metavar="N",
        help="show what camera N (the first is 0) sees, live in a window; q or Esc ends",
    )
    parser.add_argument("--show", action="store_true", help="show each drawing in a window too")
    parser.add_argument(
        "--fields",
        action="store_true",
        help="also write NAME_fields.jpg: 17 keypoint heatmaps and the silhouette over the image; not for videos",
    )
    parser.add_argument("--rle", action="store_true", help="also write each silhouette into the JSON, as COCO's RLE")
    parser.add_argument(
        "--threshold",
        type=share,
        default=LEAST_POSE_SCORE,
        metavar="SCORE",
        help="least pose score of a person that is drawn and written, 0 to 1, and before --refine looks again, too "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="arithmetic of the network (default: %(default)s)",
    )
    add_view_options(parser)
    parser.add_argument(
        "--refine",
        metavar="DIR",
        help="look at each person again with the refinement network in this directory (default: "
        f"{_REFINER} on images, not videos and cameras, where --model is {_MODEL})",
    )
    parser.add_argument("--no-refine", action="store_true", help="don't look again: faster, and less exact")
    parser.add_argument(
        "--image-size",
        action=ImageSize,
        metavar="SIDE",
        help="SHORTER [LONGEST]: scale images to this shorter side, or to this longest one where that is less "
        "(default: the model's own; put inputs before options)",
    )
    return parser


if __name__ == "__main__":
    mpn.cli.script.run(main)
