"""The one error that a user of the loader can cause."""


class DataError(ValueError):
    """A file, folder, option or missing library that the user can put right.

    The message says what is wrong, where (file and field) and what to do. It is one
    line, or one line per bad file. Commands print it as `error: ...` and exit with 2.
    """


def require_at_least(least: int, name: str, value: int | None) -> None:
    """Raises a DataError if a number that the user gave is too small."""
    if value is not None and value < least:
        raise DataError(f"{name} is {value}: give at least {least}")
