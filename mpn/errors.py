"""The exception for a user's mistake."""


class UserError(Exception):
    """A mistake that the user can correct: its message is one sentence that names the file or value and what to do.

    Commands print the message without a traceback and exit with status 1, see `mpn.cli.script.run`.
    """
