"""Stage 2 of 3: trains the person subnet on the frozen backbone of stage 1. Next: train_prn.py."""

from mpn.cli.script import import_tensorflow, run


def main(argv=None):
    import_tensorflow()
    from mpn.cli.arguments import ImageSize, positive_float, share
    from mpn.training.options import parse, training_parser
    from mpn.training.person import train_person

    parser = training_parser(__doc__, "person", epochs=50, batch_size=4, learning_rate=1e-5)
    parser.add_argument(
        "--image-size", action=ImageSize, metavar="SIDE", default=(800, 1333), help="SHORTER [LONGEST] side of images"
    )
    parser.add_argument(
        "--initial-model",
        metavar="DIR",
        help="start from the person subnet of this model directory, or of a model that comes with the package, which "
        "may have been trained on another backbone of the same architecture",
    )
    parser.add_argument("--mirror", type=share, default=0.5, help="probability of mirroring left to right")
    parser.add_argument(
        "--scale", type=positive_float, nargs=2, default=[1.0, 1.0], metavar=("LEAST", "MOST"), help="on --image-size"
    )
    parser.add_argument("--colour", type=share, default=0.0, help="strength of random colours")
    parser.add_argument("--cache-images", action="store_true", help="keep decoded images in memory")
    train_person(parse(parser, argv))


if __name__ == "__main__":
    run(main)
