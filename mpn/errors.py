"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """Something the user can put right: its message is one sentence that names the file or value and what to do.

    Scripts print the message alone, without a traceback, and exit with status 1 (see `mpn.cli.script.run`).
    """
