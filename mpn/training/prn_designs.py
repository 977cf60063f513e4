"""Whole configurations of stage 3: what `train_prn.py --design NAME` sets at once."""

import argparse

from mpn.cli.arguments import height, jitter, odd, positive_int, share
from mpn.config import PRN_ASSIGNMENTS
from mpn.training.losses import PRN_LOSSES

# §3.4, §3.5, §4.2, with the 21 % of context around a box that the authors' code has.
PAPER = {
    "nodes": 1024,
    "layers": 1,
    "dropout": 0.5,
    "residual": True,
    "pool": 1,
    "residual_gain": False,
    "margin": 0.21,
    "window": 15,
    "assignment": "greedy",
    "loss": "bce",
    "curriculum": True,
    "box_jitter": 0.0,
    "mirror": 0.0,
    "displacement": 0.0,
    "dropped": 0.0,
    "false_peaks": 0.0,
    "least_height": 1.0,
    "schedule": "plateau",
    "learning_rate": 1e-4,
}

BEST = {
    **PAPER,
    "dropout": 0.3,
    "pool": 4,
    "residual_gain": True,
    "margin": 0.5,
    "window": 11,
    "assignment": "optimal",
    "loss": "cross-entropy",
    "curriculum": False,
    "box_jitter": 0.1,
    "mirror": 0.5,
    "schedule": "cosine",
    "learning_rate": 1e-3,
}

DESIGNS = {"paper": PAPER, "best": BEST, "compact": {**BEST, "nodes": 512, "dropout": 0.0}}


def add_design_options(parser, argv):
    """Adds the PRN's options to a parser; those that are not given have the values of the --design in `argv`.

    Args:
        parser: argparse.ArgumentParser.
        argv: list of str, or None for the command line.
    """
    switch = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--design", choices=sorted(DESIGNS), default="paper", help="sets every option below that is not given")
    add("--nodes", type=positive_int, help="units of a hidden layer")
    add("--layers", type=positive_int, help="hidden layers")
    add("--dropout", type=share, help="rate after each hidden layer")
    add("--residual", action=switch, help="Eq. 1, or Eq. 3 without")
    add("--pool", type=int, choices=(1, 2, 4), help="times by which the layers see a coarser grid")
    add("--residual-gain", action=switch, help="a learned factor for the input that is added")
    add("--margin", type=share, help="share by which boxes grow on each side")
    add("--window", type=odd, help="side in cells of the window that scores a peak")
    add("--assignment", choices=PRN_ASSIGNMENTS, help="how peaks are given to boxes")
    add("--loss", choices=sorted(PRN_LOSSES), help="bce is the paper's")
    add("--curriculum", action=switch, help="easy people first in each epoch")
    add("--box-jitter", type=jitter, help="largest move of a box side, share of its size")
    add("--mirror", type=share, help="probability of mirroring left to right")
    add("--displacement", type=share, help="error of peaks, in units of 2 sigma_k sqrt(area)")
    add("--dropped", type=share, help="share of peaks that are missing")
    add("--false-peaks", type=share, help="share of false peaks")
    add("--least-height", type=height, help="peaks have heights from this to 1")
    # Read beforehand, since argparse knows defaults only before it parses.
    design = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    design.add_argument("--design", default="paper")
    parser.set_defaults(**DESIGNS.get(design.parse_known_args(argv)[0].design, PAPER))
