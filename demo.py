"""Finds people in photographs: boxes, keypoints and silhouettes, drawn and as JSON.

Example: python demo.py photo.jpg holiday/ --model models/multiposenet --output results
"""

import argparse

import mpn.cli
from mpn.arguments import ImageSize, share


def main(argv=None):
    """Parses the command line and runs the demo; returns the exit status, 1 where a file was skipped."""
    parser = _parser()
    arguments = parser.parse_args(argv)

    # Imported after parsing, so that --help and mistyped options answer at once.
    from mpn.inference.demo import run_demo

    return run_demo(
        arguments.images,
        arguments.output,
        arguments.model,
        threshold=arguments.threshold,
        show=arguments.show,
        image_size=arguments.image_size,
        precision=arguments.precision,
    )


def _parser():
    parser = argparse.ArgumentParser(
        description="Finds people in images. For each image NAME.jpg it writes NAME_poses.jpg, a drawing, "
        "and NAME_poses.json: boxes, scores and 17 keypoints a person, in pixels of the image.",
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file, or a folder of image files")
    parser.add_argument(
        "--model", metavar="DIR", default="models/multiposenet", help="model directory (default: %(default)s)"
    )
    parser.add_argument(
        "--output", metavar="DIR", default="results", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--show", action="store_true", help="show each drawing in a window too")
    parser.add_argument(
        "--threshold",
        type=share,
        default=0.3,
        metavar="SCORE",
        help="least pose score of a person that is drawn and written, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="arithmetic of the network (default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        action=ImageSize,
        metavar="SIDE",
        help="SHORTER [LONGEST]: scale images to this shorter side, or to this longest one where that is less "
        "(default: the model's own; put images before options)",
    )
    return parser


if __name__ == "__main__":
    mpn.cli.run(main)
