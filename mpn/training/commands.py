"""The commands that train the three stages: train_keypoints.py, train_person.py and train_prn.py."""

from mpn import training
from mpn.cli.script import command
from mpn.cli.settings import command_line


@command
def keypoints(argv=None):
    """Stage 1 of 3: trains backbone and keypoint subnet on COCO. Next: train_person.py."""
    with command_line(training.KeypointTraining, keypoints.__doc__, argv) as settings:
        training.train_keypoints(settings)


@command
def person(argv=None):
    """Stage 2 of 3: trains the person subnet on the frozen backbone of stage 1. Next: train_prn.py."""
    with command_line(training.PersonTraining, person.__doc__, argv) as settings:
        training.train_person(settings)


@command
def prn(argv=None):
    """Stage 3 of 3: trains the Pose Residual Network from labels; needs no images and neither of the other stages."""
    with command_line(training.PrnTraining, prn.__doc__, argv) as settings:
        training.train_prn(settings)
