"""Evaluates a model on COCO: official keypoint and box metrics for val and train, a zip to upload for test-dev."""

import argparse
import dataclasses
import sys

from mpn.cli.script import import_tensorflow, run
from mpn.errors import UserError

MOVED = {
    "--voc": "python -m mpn.evaluation.voc VOC2012 --model DIR",
    "--runtime": "python -m mpn.evaluation.runtime IMAGE --model DIR",
    "--prn-clusters": "python -m mpn.studies.prn_clusters FILE.png --model DIR",
}


def main(argv=None):
    for word in sys.argv[1:] if argv is None else argv:
        flag = word.partition("=")[0]
        if flag in MOVED:
            raise UserError(f"{flag} is a command of its own now: {MOVED[flag]}")
    import_tensorflow()
    from mpn.cli.arguments import add_coco_option, add_view_options
    from mpn.evaluation import Evaluation, evaluate

    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    add_coco_option(parser)
    for field in dataclasses.fields(Evaluation):
        if field.metadata:
            more = dict(field.metadata)
            if field.default is not None and field.default is not False:
                default = " ".join(field.default) if isinstance(field.default, tuple) else field.default
                more["help"] += f" (default: {default})"
            parser.add_argument(f"--{field.name.replace('_', '-')}", **more)
    add_view_options(parser)
    evaluate(Evaluation(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    run(main)
