"""Writes a set of drawn people in COCO's layout: `python -m mpn.synthetic data/synthetic --train 2000 --val 200`."""

from mpn.cli.script import run
from mpn.cli.settings import module_parser
from mpn.kinds import natural, positive_int
from mpn.synthetic.scenes import write_synthetic_coco


def main(argv=None):
    parser = module_parser(__spec__, __doc__)
    parser.add_argument("folder", help="where to write")
    parser.add_argument("--train", type=natural, default=200, help="training images (default: %(default)s)")
    parser.add_argument("--val", type=natural, default=40, help="validation images (default: %(default)s)")
    parser.add_argument("--test", type=natural, default=8, help="test images (default: %(default)s)")
    parser.add_argument(
        "--image-size", type=positive_int, nargs=2, default=(320, 240), metavar=("W", "H"), help="default: 320 240"
    )
    parser.add_argument("--seed", type=natural, default=0, help="what to draw (default: %(default)s)")
    options = parser.parse_args(argv)
    sizes = options.train, options.val, options.test
    write_synthetic_coco(options.folder, *sizes, options.image_size, options.seed, progress=True)


if __name__ == "__main__":
    run(main)
