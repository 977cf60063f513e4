"""argparse types and options that several scripts share."""

import argparse
import os

# Least pose score of a person that the demo draws and writes.
LEAST_POSE_SCORE = 0.2


def positive_int(text):
    """argparse type: an integer of 1 or more."""
    return _number(text, int, lambda value: value >= 1, "a whole number of 1 or more")


def odd(text):
    """argparse type: an odd number of 1 or more."""
    return _number(text, int, lambda value: value >= 1 and value % 2 == 1, "an odd number of 1 or more")


def natural(text):
    """argparse type: an integer of 0 or more."""
    return _number(text, int, lambda value: value >= 0, "a whole number of 0 or more")


def positive_float(text):
    """argparse type: a number above 0."""
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number above 0")


def non_negative(text):
    """argparse type: a number of 0 or more."""
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a number of 0 or more")


def share(text):
    """argparse type: a number from 0 to 1."""
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def height(text):
    """argparse type: a number above 0 and up to 1."""
    return _number(text, float, lambda value: 0 < value <= 1, "a number above 0 and up to 1")


def average(text):
    """argparse type: a number from 0 up to, but not, 1."""
    return _number(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def jitter(text):
    """argparse type: a number from 0 to 0.4, so that both sides of a box together cannot turn it inside out."""
    return _number(text, float, lambda value: 0 <= value <= 0.4, "a number from 0 to 0.4")


def degrees(text):
    """argparse type: an angle from 0 to 180."""
    return _number(text, float, lambda value: 0 <= value <= 180, "an angle from 0 to 180 degrees")


def numbers(text):
    """argparse type: numbers above 0 with commas between them, as a tuple of floats."""
    values = [_as_number(part, float) for part in text.split(",")]
    if not all(value is not None and 0 < value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers above 0, such as 0.5,1,2")
    return tuple(values)


class ImageSize(argparse.Action):
    """Takes SHORTER [LONGEST] in pixels and stores the pair; the longest side defaults to 5/3 of the shorter.

    800 gives (800, 1333), as in the paper (§3.5).
    """

    def __init__(self, option_strings, dest, **options):
        super().__init__(option_strings, dest, nargs="+", type=positive_int, **options)

    def __call__(self, parser, namespace, values, option_string=None):
        shorter, longest = (*values, with_longest_side(values[0])[1])[:2]
        if len(values) > 2 or longest < shorter:
            parser.error(f"{option_string} takes SHORTER, or SHORTER and LONGEST with LONGEST at least SHORTER")
        setattr(namespace, self.dest, (shorter, longest))


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


def with_longest_side(shorter):
    """(shorter, longest) side in pixels, in RetinaNet's proportion of 800 to 1333."""
    return shorter, shorter * 5 // 3


def _number(text, kind, accepts, wanted):
    value = _as_number(text, kind)
    if value is None or not accepts(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def _as_number(text, kind):
    """The number that a text means, or None."""
    try:
        return kind(text)
    except ValueError:
        return None
