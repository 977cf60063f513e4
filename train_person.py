"""Stage 2 of 3: trains the person subnet on the frozen backbone of stage 1. Next: train_prn.py."""

from mpn.cli.script import run
from mpn.cli.settings import command_line
from mpn.training import PersonTraining


def main(argv=None):
    with command_line(PersonTraining, __doc__, argv) as settings:
        from mpn.training import train_person

        train_person(settings)


if __name__ == "__main__":
    run(main)
