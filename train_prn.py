"""Stage 3 of 3: trains the Pose Residual Network."""

from mpn.training.commands import prn as main

if __name__ == "__main__":
    main.run()
