"""What every command-line script shares: quiet start-up, errors as one sentence, an exit code that tells."""

import os
import sys

from mpn.errors import UserError


def run(main, argv=None):
    """Calls `main(argv)` and turns what a user can cause into one sentence on stderr and exit status 1.

    Args:
        main: function of argv that returns an exit status, or None for 0.
        argv: arguments without the program's name; None takes sys.argv.

    Raises:
        SystemExit: always, with the exit status. 130 after Ctrl-C.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        sys.exit(main(argv) or 0)
    except UserError as error:
        message = str(error)
    except FloatingPointError as error:
        message = str(error)
    except OSError as error:  # a full disk or an unwritable folder: the system's words name the file
        where = f" {error.filename!r}" if error.filename else ""
        message = f"cannot read or write{where}: {error.strerror or error}; check the path, its permissions and disk"
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
