"""Stage 3 of 3: trains the Pose Residual Network from labels; needs no images and neither of the other stages."""

import argparse

from mpn.cli import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.arguments import positive_int, share
    from mpn.training.losses import PRN_LOSSES
    from mpn.training.options import parse, training_parser
    from mpn.training.prn import train_prn

    parser = training_parser(__doc__, epochs=40, batch_size=256, learning_rate=1e-4)
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz) instead of --coco")
    parser.add_argument("--nodes", type=positive_int, default=1024, help="units of a hidden layer")
    parser.add_argument("--layers", type=positive_int, default=1, help="hidden layers")
    parser.add_argument("--dropout", type=share, default=0.5, help="rate after each hidden layer")
    parser.add_argument("--residual", action=switch, default=True, help="Eq. 1, or Eq. 3 without")
    parser.add_argument("--margin", type=share, default=0.21, help="share by which boxes grow on each side")
    parser.add_argument("--loss", choices=sorted(PRN_LOSSES), default="bce", help="bce is the paper's")
    parser.add_argument("--curriculum", action=switch, default=True, help="easy people first in each epoch")
    parser.add_argument("--box-jitter", type=share, default=0.1, help="largest move of a box side, share of its size")
    parser.add_argument("--mirror", type=share, default=0.5, help="probability of mirroring left to right")
    train_prn(parse(parser, argv))


if __name__ == "__main__":
    run(main)
