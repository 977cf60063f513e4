"""Stage 3 of 3: trains the Pose Residual Network from labels; needs no images and neither of the other stages."""

from mpn.cli.script import run
from mpn.cli.settings import command_line
from mpn.training import PrnTraining


def main(argv=None):
    with command_line(PrnTraining, __doc__, argv) as settings:
        from mpn.training import train_prn

        train_prn(settings)


if __name__ == "__main__":
    run(main)
