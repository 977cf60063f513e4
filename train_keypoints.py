"""Stage 1 of 3: trains backbone and keypoint subnet on COCO. Next: train_person.py."""

from mpn.cli.script import run
from mpn.cli.settings import command_line
from mpn.training import KeypointTraining


def main(argv=None):
    with command_line(KeypointTraining, __doc__, argv) as settings:
        from mpn.training import train_keypoints

        train_keypoints(settings)


if __name__ == "__main__":
    run(main)
