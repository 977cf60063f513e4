"""Evaluates a model on COCO: official keypoint and box metrics for val and train, a zip to upload for test-dev."""

import sys

from mpn.cli.script import command, import_tensorflow
from mpn.cli.settings import command_line
from mpn.errors import UserError

MOVED = {
    "--voc": "python -m mpn.evaluation.voc VOC2012 --model DIR",
    "--runtime": "python -m mpn.evaluation.runtime IMAGE --model DIR",
    "--prn-clusters": "python -m mpn.studies.prn_clusters FILE.png --model DIR",
}


@command
def main(argv=None):
    for word in sys.argv[1:] if argv is None else argv:
        flag = word.partition("=")[0]
        if flag in MOVED:
            raise UserError(f"{flag} is a command of its own now: {MOVED[flag]}")
    import_tensorflow()
    from mpn.evaluation import Evaluation, evaluate

    with command_line(Evaluation, __doc__, argv) as evaluation:
        evaluate(evaluation)
