"""Stage 2 of 3: trains the person subnet."""

from mpn.training.commands import person as main

if __name__ == "__main__":
    main.run()
