"""Parameters of every block of the network, as in the paper's supplementary material.

`python -m mpn.models.summary --backbone resnet50` prints the table.
"""

import argparse

from mpn.cli import import_tensorflow, run


def parameter_table(config):
    """Parameters a block.

    Args:
        config: ModelConfig.

    Returns:
        dict of block name to number of parameters, the total last. Batch normalisation statistics count.
    """
    from mpn.models.multiposenet import Networks

    networks = Networks(config)
    blocks = {
        f"backbone ({config.backbone}{', dilated' if config.dilated else ''})": networks.backbone,
        "keypoint subnet": networks.keypoint_subnet,
        "person subnet": networks.person_detector.subnet,
        "pose residual network": networks.prn,
    }
    table = {name: model.count_params() for name, model in blocks.items()}
    return {**table, "total": sum(table.values())}


def main(argv=None):
    from mpn.config import BACKBONES, ModelConfig, load_config

    parser = argparse.ArgumentParser(description="Prints the parameters of every block of a network.")
    parser.add_argument("--model", metavar="DIR", help="a model directory, instead of --backbone")
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument("--dilated", action="store_true")
    options = parser.parse_args(argv)
    config = ModelConfig(backbone=options.backbone, dilated=options.dilated)
    if options.model:
        config = load_config(options.model)
    import_tensorflow()
    for name, count in parameter_table(config).items():
        print(f"{name:<28}{count:>14,}")


if __name__ == "__main__":
    run(main)
