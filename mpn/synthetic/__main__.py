"""The command `python -m mpn.synthetic`."""

from mpn.cli.script import run
from mpn.synthetic.scenes import main

if __name__ == "__main__":
    run(main)
