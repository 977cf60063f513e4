"""Stage 3 of 3: trains the Pose Residual Network from labels; needs no images and neither of the other stages."""

from mpn.cli.script import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.training.options import parse
    from mpn.training.prn import prn_parser, train_prn

    train_prn(parse(prn_parser(__doc__, argv), argv))


if __name__ == "__main__":
    run(main)
