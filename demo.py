"""Finds people in photographs, videos or live from a camera: boxes, keypoints and silhouettes, drawn and as JSON.

Examples:
    python demo.py
    python demo.py photo.jpg holiday/ 'party/*.jpg' clip.mp4 --output results
    python demo.py --camera 0
"""

import argparse
import dataclasses

import mpn.cli.script
from mpn.cli.arguments import LEAST_POSE_SCORE, ImageSize, add_view_options, natural, share

# Models of the package.
_MODEL, _REFINER = "small", "small-refiner"


def main(argv=None):
    """Parses the command line and runs the demo; returns the exit status, 1 if a file was skipped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.fields:
        parser.error("--fields is called --heatmaps now, and writes NAME_heatmaps.jpg")
    if arguments.refine and arguments.no_refine:
        parser.error("--refine and --no-refine exclude each other")
    if arguments.camera is not None:
        if arguments.inputs or arguments.show or arguments.heatmaps or arguments.rle:
            parser.error("--camera writes no files: it takes neither inputs nor --show, --heatmaps or --rle")

    # Imported after parsing, so that --help and mistakes in options answer at once.
    from mpn.demo.settings import PredictionSettings

    settings = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(PredictionSettings)}
    if arguments.camera is not None:
        from mpn.demo.camera import run_camera

        return run_camera(arguments.camera, arguments.model, PredictionSettings(**settings))
    from mpn.demo.run import run_demo

    # Refinement improves photographs; it is too slow for videos.
    by_default = not arguments.refine and not arguments.no_refine and arguments.model == _MODEL
    if by_default:
        settings["refine"] = _REFINER
    return run_demo(
        arguments.inputs,
        arguments.output,
        arguments.model,
        PredictionSettings(**settings),
        show=arguments.show,
        heatmaps=arguments.heatmaps,
        rle=arguments.rle,
        refine_videos=not by_default,
    )


def _parser():
    parser = argparse.ArgumentParser(
        description="Finds people in images and videos. For each image NAME.jpg it writes NAME_poses.jpg, a drawing, "
        "and NAME_poses.json: boxes, scores and 17 keypoints for each person, in pixels of the image. For each video "
        "it writes NAME_poses.mp4 and NAME_poses.jsonl, one line per frame.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="image or video file, a folder of them, or a quoted pattern such as 'holiday/*.jpg' "
        "(default: a photograph that scikit-image ships)",
    )
    names = "model directory, or the name of a model of the package (default: %(default)s)"
    parser.add_argument("--model", metavar="DIR", default=_MODEL, help=names)
    parser.add_argument("--output", metavar="DIR", default="results", help="folder for results (default: %(default)s)")
    parser.add_argument(
        "--camera",
        type=natural,
        metavar="N",
        help="show camera N (the first is 0) live in a window; q or Esc ends",
    )
    parser.add_argument("--show", action="store_true", help="also show each drawing in a window")
    parser.add_argument(
        "--heatmaps",
        action="store_true",
        help="also write NAME_heatmaps.jpg: 17 keypoint heatmaps and the silhouette over the image; not for videos",
    )
    parser.add_argument("--fields", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rle", action="store_true", help="also write each silhouette into the JSON, as COCO's RLE")
    parser.add_argument(
        "--threshold",
        type=share,
        default=LEAST_POSE_SCORE,
        metavar="SCORE",
        help="least score, 0 to 1, of a person that is refined, drawn and written (default: %(default)s)",
    )
    precisions = ("auto", "float32", "bfloat16")
    parser.add_argument("--precision", choices=precisions, default="auto", help="of the network (default: %(default)s)")
    add_view_options(parser)
    parser.add_argument(
        "--refine",
        metavar="DIR",
        help="look at each person again with the refinement network in this directory (default: "
        f"{_REFINER} for images if --model is {_MODEL}; none for videos and cameras)",
    )
    parser.add_argument("--no-refine", action="store_true", help="no refinement: faster and less exact")
    parser.add_argument(
        "--image-size",
        action=ImageSize,
        metavar="SIDE",
        help="SHORTER [LONGEST]: scale images to this shorter side, but not beyond this longest one (default: the "
        "model's own; put inputs before options)",
    )
    return parser


if __name__ == "__main__":
    mpn.cli.script.run(main)
