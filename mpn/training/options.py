"""Command-line options that the three training scripts share."""

import argparse
import os
import sys

from mpn.arguments import add_coco_option, average, natural, positive_float, positive_int, share
from mpn.precision import TRAINING_PRECISIONS


def training_parser(description, epochs, batch_size, learning_rate):
    """A parser with the shared options.

    Args:
        description: shown by --help.
        epochs, batch_size, learning_rate: the stage's defaults.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    add_coco_option(parser)
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory")
    parser.add_argument("--epochs", type=positive_int, default=epochs, help="train up to this many epochs in all")
    parser.add_argument("--steps-per-epoch", type=positive_int, help="batches an epoch; default: the whole data set")
    parser.add_argument("--batch-size", type=positive_int, default=batch_size, help="samples a step, over all devices")
    parser.add_argument("--learning-rate", type=positive_float, default=learning_rate, help="Adam's, at the start")
    parser.add_argument(
        "--schedule",
        choices=("plateau", "cosine"),
        default="plateau",
        help="of the learning rate: x 0.1 in plateaux, or down to nothing at the end of --epochs",
    )
    parser.add_argument(
        "--plateau-patience", type=positive_int, default=3, help="epochs without a better val_loss before x 0.1"
    )
    parser.add_argument("--min-learning-rate", type=positive_float, default=1e-7, help="the schedule's lower end")
    parser.add_argument("--precision", choices=TRAINING_PRECISIONS, default="float32", help="number format")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --model")
    parser.add_argument("--seed", type=natural, default=0, help="makes a run repeatable, data order included")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images of each split only")
    parser.add_argument("--workers", type=positive_int, default=os.cpu_count() or 1, help="samples prepared at a time")
    parser.add_argument(
        "--validation",
        choices=("val", "held-out", "train"),
        default="val",
        help="images whose loss decides best and plateau; held-out are images of train, which are not trained on",
    )
    parser.add_argument(
        "--hold-out", type=share, default=0.02, help="share of train held out, also where there is no val split"
    )
    parser.add_argument(
        "--average",
        type=average,
        metavar="DECAY",
        help="validate and keep a moving average of the weights; 0.999 averages about 1000 steps",
    )
    return parser


def parse(parser, argv=None):
    """Parses, and adds what a run derives from the way it was called.

    Returns:
        argparse.Namespace, with `learning_rate_given` (bool) and `progress` (bool, whether stdout is a terminal).
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = parser.parse_args(arguments)
    options.learning_rate_given = any(a.split("=")[0] == "--learning-rate" for a in arguments)
    options.progress = sys.stdout.isatty()
    return options
