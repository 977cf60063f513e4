"""What every command shares: a quiet start, errors as one sentence, and an exit status."""

import functools
import os
import sys
import tempfile

from mpn.environment import pin_keras
from mpn.errors import UserError


def run(main, argv=None):
    """Calls `main(argv)` and ends the program; errors that a user can cause become one sentence on stderr and status 1.

    `main` returns an exit status, or None for 0; an `argv` of None takes sys.argv. Raises SystemExit in any case, with
    the exit status, which is 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # so that any file name can be printed in any encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main(argv) or 0)
    except (UserError, FloatingPointError, OSError) as error:
        message = in_words(error)
    except ImportError as error:
        if ".so" not in str(error):
            raise
        message = (
            f"a library of this system is missing ({error}): install it (for libGL.so.1 on Debian and Ubuntu: apt "
            "install libgl1), or replace opencv-python by opencv-python-headless, which opens no windows"
        )
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        _leave(130, argv is None)
    print(f"error: {message}", file=sys.stderr)
    _leave(1, argv is None)


def command(main):
    """Decorates a `main(argv)`: `main.run()` is the whole program, for scripts and for the wheel's entry points."""
    main.run = functools.partial(run, main)
    return main


def in_words(error):
    """One sentence for an exception that a user can cause; that of an OSError names the file."""
    if not isinstance(error, OSError):
        return str(error)
    where = f" {error.filename!r}" if error.filename else ""
    return f"cannot read or write{where}: {error.strerror or error}; check the path, permissions and free space"


def _leave(status, at_once):
    """Ends the program, where `at_once` without waiting for TensorFlow's data threads, which may never end."""
    if at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def import_tensorflow():
    """Imports TensorFlow and Keras without their start-up messages, which look like errors on a machine without a GPU.

    C++ writes them before any logging option is read, so stderr itself is set aside. MPN_VERBOSE=1 shows them, and so
    does an ImportError. For UserErrors see `mpn.environment.pin_keras`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not os.environ.get("MPN_VERBOSE") and "tensorflow" not in sys.modules:
        _import_quietly()
    pin_keras()


def _import_quietly():
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices("GPU")
        except BaseException:
            messages.seek(0)
            os.write(kept, messages.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
