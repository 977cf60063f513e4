"""Draws the poses that a PRN has learned (§3.4; Fig. 2, right).

`python -m mpn.studies.prn_clusters clusters.png --model DIR --annotations FILE`; it needs no images.
"""

import argparse

from mpn.cli.script import import_tensorflow, run
from mpn.cli.settings import add_options
from mpn.data.coco import annotation_file, load_annotations
from mpn.errors import UserError
from mpn.files import make_replaceable
from mpn.settings import positive_int
from mpn.training.settings import Training


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m mpn.studies.prn_clusters",
        description="Draws the poses that a PRN has learned: its outputs in clusters, the mean of each as a skeleton.",
    )
    parser.add_argument("picture", metavar="FILE.png", help="the picture to write")
    parser.add_argument("--model", metavar="DIR", default="models/multiposenet", help="model directory with a PRN")
    add_options(parser, Training, "coco")
    parser.add_argument("--annotations", metavar="FILE", help="COCO keypoints JSON (or .gz) instead of --coco")
    parser.add_argument("--split", choices=("val", "train"), default="val", help="of --coco (default: val)")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="first N images only")
    parser.add_argument("--clusters", type=positive_int, default=6, help="default: 6, as in the paper")
    options = parser.parse_args(argv)
    if not options.picture.lower().endswith(".png"):
        raise UserError(f"the picture is a PNG: end the name {options.picture} with .png")
    import_tensorflow()
    from mpn.images import write_image
    from mpn.model_directory import load_networks
    from mpn.studies.pose_clusters import draw_clusters, prn_clusters

    networks = load_networks(options.model, ("prn",))
    records = load_annotations(options.annotations or annotation_file(options.coco, options.split), limit=options.limit)
    make_replaceable(options.picture)
    means, counts, proportions = prn_clusters(networks, records, options.clusters)
    write_image(options.picture, draw_clusters(means, counts, proportions))
    print(f"{counts.sum()} people in {len(counts)} clusters in {options.picture}; left limbs are warm, right ones cool")


if __name__ == "__main__":
    run(main)
