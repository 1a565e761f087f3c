"""The error that a user can cause, and mend."""


class UserError(ValueError):
    """What is wrong, where, and what to do, in one line.

    The commands print it without a traceback and exit with code 2; every other
    exception is a bug and keeps its traceback.
    """
