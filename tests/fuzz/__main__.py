"""Gives changed files of every kind to all that reads them.

`python tests/fuzz COUNT SEED` shares COUNT files among the kinds, prints what fails,
and exits with 1 if anything does.
"""

import argparse
import pathlib
import sys

sys.path[:0] = map(str, pathlib.Path(__file__).resolve().parents[1:3])  # of the tests and of mpn

from mpn.cli.script import import_tensorflow  # noqa: E402
from mpn.kinds import natural, positive_int  # noqa: E402


def main(argv=None):
    """Runs every kind; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Reads files that are changed at random.")
    parser.add_argument("count", metavar="COUNT", type=positive_int, help="files in all")
    parser.add_argument("seed", metavar="SEED", type=natural, help="the same changes to the same files")
    options = parser.parse_args(argv)
    import_tensorflow()
    from fuzz import annotations, media, model_files

    kinds = {"annotations and detections": annotations, "images and videos": media, "models": model_files}
    failed = False
    for index, (name, kind) in enumerate(kinds.items()):
        count = (options.count + index) // len(kinds)
        failures = kind.run(count, options.seed)
        failed |= bool(failures)
        print(*failures, f"{name}: {len(failures)} of {count} files failed", sep="\n\n", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
