"""Stage 2 of 3: trains the person subnet on the frozen backbone of stage 1. Next: train_prn.py."""

from mpn.cli import run


def main(argv=None):
    from mpn.training.options import parse, training_parser
    from mpn.training.person import train_person

    text = "SHORTER [LONGEST] side of the images; the longest defaults to 5/3 of the shorter"
    parser = training_parser(__doc__, 50, 4, 1e-5, (text, "+", [800, 1333]))
    parser.add_argument("--mirror", type=float, default=0.5, help="probability of mirroring left to right")
    train_person(parse(parser, argv))


if __name__ == "__main__":
    run(main)
