"""Finds people in photographs: boxes, keypoints and silhouettes, drawn and as JSON.

Example: python demo.py photo.jpg holiday/ --model models/multiposenet --output results
"""

import argparse

import mpn.cli


def main(argv=None):
    """Parses the command line and runs the demo; returns the exit status, 1 where a file was skipped."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    image_size = _image_size(parser, arguments.image_size)

    # Imported after parsing, so that --help and mistyped options answer at once.
    from mpn.inference.demo import run_demo

    return run_demo(
        arguments.images,
        arguments.output,
        arguments.model,
        threshold=arguments.threshold,
        show=arguments.show,
        image_size=image_size,
        precision=arguments.precision,
    )


def _parser():
    parser = argparse.ArgumentParser(
        description="Finds people in images. For each image NAME.jpg it writes NAME_poses.jpg, a drawing, "
        "and NAME_poses.json: boxes, scores and 17 keypoints a person, in pixels of the image.",
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file, or a folder of image files")
    parser.add_argument("--model", required=True, metavar="DIR", help="model directory")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--show", action="store_true", help="show each drawing in a window too")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=0.3,
        metavar="SCORE",
        help="least pose score of a person that is drawn and written, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="arithmetic of the network (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=_pixels,
        nargs="+",
        metavar=("SHORTER", "LONGER"),
        help="scale images to this shorter side, with the longer side at most LONGER, 5/3 of SHORTER where "
        "not given (default: the model's own)",
    )
    return parser


def _share(text):
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _pixels(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels (put images before options)")
    return value


def _image_size(parser, sides):
    """(shorter, longer) from one or two sides in pixels, or None; 800 gives (800, 1333) as in the paper."""
    if sides is None:
        return None
    shorter, longer = sides if len(sides) == 2 else (sides[0], sides[0] * 5 // 3)
    if len(sides) > 2 or longer < shorter:
        parser.error("--image-size takes SHORTER, or SHORTER and LONGER with LONGER at least SHORTER")
    return shorter, longer


if __name__ == "__main__":
    mpn.cli.run(main)
