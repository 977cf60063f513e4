"""Averages the backbones and keypoint subnets of two models, one of which was trained from the other's weights.

    python docs/recipes/average.py MODEL OTHER TARGET

TARGET is the model directory that gets the mean weights. It may be that of a refinement network.
"""

import argparse

from mpn.cli.script import run
from mpn.model_directory import load_networks, save_networks


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("model", "other", "target"):
        parser.add_argument(name, metavar=name.upper(), help="model directory")
    options = parser.parse_args(argv)
    sources = options.model, options.other
    networks, others = (load_networks(source, ("keypoints",), refiner=True) for source in sources)
    pairs = zip(networks.keypoint_model().get_weights(), others.keypoint_model().get_weights(), strict=True)
    networks.keypoint_model().set_weights([(first + second) / 2 for first, second in pairs])
    save_networks(networks, options.target, ("keypoints",))


if __name__ == "__main__":
    run(main)
