"""argparse types and options that several commands share."""

import argparse
import os

from mpn.settings import (  # noqa: F401  commands import them from here
    ImageSize,
    degrees,
    jitter,
    natural,
    non_negative,
    odd,
    positive_float,
    positive_int,
    share,
    with_longest_side,
)

# Least pose score of a person that the demo draws and writes.
LEAST_POSE_SCORE = 0.2


def numbers(text):
    """argparse type: numbers above 0 with commas between them, as a tuple of floats."""
    try:
        return tuple(positive_float(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers above 0, such as 0.5,1,2") from None


def add_coco_option(parser):
    """Adds --coco, with MPN_COCO as its default."""
    parser.add_argument(
        "--coco",
        metavar="DIR",
        default=os.environ.get("MPN_COCO"),
        help="folder in COCO layout: train2017/, val2017/, annotations/ (default: $MPN_COCO)",
    )


def add_view_options(parser):
    """Adds test-time augmentation, see `mpn.inference.views.Augmentation`: --scales, --mirror and --crops."""
    parser.add_argument(
        "--scales",
        type=numbers,
        metavar="S,S,...",
        default=(1.0,),
        help="see each image at these scales of the image size, such as 0.5,1,1.5,2, and average (default: 1)",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="see each image mirrored too, and average; each person, too, with --refine",
    )
    parser.add_argument(
        "--crops", type=positive_int, metavar="N", default=1, help="see N x N crops of each image too, from 2 up"
    )
