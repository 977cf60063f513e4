"""The command `demo.py`: finds people in photographs and videos, live from a camera, or on a web page.

Examples:
    python demo.py
    python demo.py photo.jpg holiday/ 'party/*.jpg' clip.mp4 --output results
    python demo.py --camera 0
    python demo.py --web
"""

import argparse
import dataclasses

from mpn.cli.script import command
from mpn.cli.settings import add_options
from mpn.demo.settings import DEFAULT_MODEL, DEFAULT_REFINER, PredictionSettings, WebSettings
from mpn.kinds import natural
from mpn.settings import options_of


@command
def main(argv=None):
    """Parses the command line and runs the demo; returns the exit status, 1 if a file was skipped."""
    arguments = _checked_arguments(argv)

    # What else is imported comes after parsing, so that --help and mistakes in options answer at once.
    settings = _settings(PredictionSettings, arguments)
    if arguments.camera is not None:
        from mpn.demo.camera import run_camera

        return run_camera(arguments.camera, arguments.model, settings)
    # Refinement improves photographs; it is too slow for videos.
    by_default = not arguments.refine and not arguments.no_refine and arguments.model == DEFAULT_MODEL
    if by_default:
        settings = dataclasses.replace(settings, refine=DEFAULT_REFINER)
    if arguments.web:
        from mpn.demo.web import run_web

        return run_web(arguments.model, settings, _settings(WebSettings, arguments))
    from mpn.demo.run import run_demo

    files = arguments.inputs, arguments.output, arguments.model
    shown = {name: getattr(arguments, name) for name in ("show", "heatmaps", "rle")}
    return run_demo(*files, settings, **shown, refine_videos=not by_default)


def _settings(settings_class, arguments):
    return settings_class(**{name: getattr(arguments, name) for name in options_of(settings_class)})


def _checked_arguments(argv):
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.fields:
        parser.error("--fields is called --heatmaps now, and writes NAME_heatmaps.jpg")
    if arguments.refine and arguments.no_refine:
        parser.error("--refine and --no-refine exclude each other")
    if arguments.web and arguments.camera is not None:
        parser.error("--web and --camera exclude each other: the page has a camera of its own")
    if not arguments.web and _settings(WebSettings, arguments) != WebSettings():
        parser.error("--host and --port are for --web")
    without_files = "--web" if arguments.web else "--camera" if arguments.camera is not None else None
    for name in ("inputs", "output", "show", "heatmaps", "rle"):
        if without_files and getattr(arguments, name) not in ([], parser.get_default(name)):
            parser.error(f"{without_files} writes no files: leave out {'inputs' if name == 'inputs' else f'--{name}'}")
    return arguments


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
    names = "model directory, export, or the name of a model of the package (default: %(default)s)"
    parser.add_argument("--model", metavar="DIR", default=DEFAULT_MODEL, help=names)
    parser.add_argument("--output", metavar="DIR", default="results", help="folder for results (default: %(default)s)")
    live = "show camera N (the first is 0) live in a window; q or Esc ends"
    parser.add_argument("--camera", type=natural, metavar="N", help=live)
    parser.add_argument("--web", action="store_true", help="show a page on which to drop photographs; Ctrl-C ends")
    add_options(parser, WebSettings)
    parser.add_argument("--show", action="store_true", help="also show each drawing in a window")
    parser.add_argument(
        "--heatmaps",
        action="store_true",
        help="also write NAME_heatmaps.jpg: 17 keypoint heatmaps and the silhouette over the image; not for videos",
    )
    parser.add_argument("--fields", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rle", action="store_true", help="also write each silhouette into the JSON, as COCO's RLE")
    add_options(parser, PredictionSettings)
    parser.add_argument("--no-refine", action="store_true", help="no refinement: faster and less exact")
    return parser
