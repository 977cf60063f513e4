"""Stage 3 of 3: trains the Pose Residual Network from labels; needs no images and neither of the other stages."""

import argparse

from mpn.cli import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.arguments import odd, positive_float, positive_int, share
    from mpn.config import PRN_ASSIGNMENTS
    from mpn.training.losses import PRN_LOSSES
    from mpn.training.options import parse, training_parser
    from mpn.training.prn import train_prn
    from mpn.training.prn_designs import DESIGNS

    design = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    design.add_argument(
        "--design", choices=sorted(DESIGNS), default="paper", help="sets every option below that is not given"
    )
    parser = training_parser(__doc__, epochs=40, batch_size=256, learning_rate=1e-4, parents=[design])
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz) instead of --coco")
    parser.add_argument("--nodes", type=positive_int, help="units of a hidden layer")
    parser.add_argument("--layers", type=positive_int, help="hidden layers")
    parser.add_argument("--dropout", type=share, help="rate after each hidden layer")
    parser.add_argument("--residual", action=switch, help="Eq. 1, or Eq. 3 without")
    parser.add_argument("--pool", type=int, choices=(1, 2, 4), help="times by which the layers see a coarser grid")
    parser.add_argument("--residual-gain", action=switch, help="a learned factor for the input that is added")
    parser.add_argument("--margin", type=share, help="share by which boxes grow on each side")
    parser.add_argument("--window", type=odd, help="side in cells of the window that scores a peak")
    parser.add_argument("--assignment", choices=PRN_ASSIGNMENTS, help="how peaks are given to boxes")
    parser.add_argument("--loss", choices=sorted(PRN_LOSSES), help="bce is the paper's")
    parser.add_argument("--curriculum", action=switch, help="easy people first in each epoch")
    parser.add_argument("--box-jitter", type=share, help="largest move of a box side, share of its size")
    parser.add_argument("--mirror", type=share, help="probability of mirroring left to right")
    parser.add_argument("--displacement", type=share, help="error of peaks, in units of 2 sigma_k sqrt(area)")
    parser.add_argument("--dropped", type=share, help="share of peaks that are missing")
    parser.add_argument("--false-peaks", type=share, help="share of false peaks")
    parser.add_argument("--least-height", type=positive_float, help="peaks have heights from this to 1")
    parser.set_defaults(**DESIGNS[design.parse_known_args(argv)[0].design])
    train_prn(parse(parser, argv))


if __name__ == "__main__":
    run(main)
