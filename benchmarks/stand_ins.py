"""What public code needs to be run without what it doesn't use, such as environments.

For any Python: nothing but the standard library.
"""

import inspect
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock


def stand_in(*modules: str) -> None:
    """Empty modules in place of those that are imported, and not used by an update."""
    for name in modules:
        sys.modules[name] = MagicMock(name=name)


def no_command_line() -> None:
    """pyrallis whose `wrap` leaves a script's main function as it is."""
    sys.modules["pyrallis"] = SimpleNamespace(wrap=lambda: lambda function: function)


class _Reached(Exception):
    """The first call of what a script does again and again."""


def variables(script: Callable, *arguments: Any, until: tuple[type, str]) -> dict:
    """The local variables of a script's main function when it calls the method `until`
    for the first time: all that it has made, as it makes it.
    """
    kind, method = until
    whole = getattr(kind, method)

    def reached(*_: Any, **__: Any) -> None:
        raise _Reached

    setattr(kind, method, reached)
    try:
        script(*arguments)
    except _Reached as error:
        code = inspect.unwrap(script).__code__
        trace = error.__traceback__
        while trace.tb_frame.f_code is not code:
            trace = trace.tb_next
        return dict(trace.tb_frame.f_locals)
    finally:
        setattr(kind, method, whole)
    raise RuntimeError(f"{script.__name__} never calls {method}")


def one_by_one(update: Callable[[], Any]) -> Callable[[int], float]:
    """Gives `seconds(n)`, of n calls that wait for their results."""

    def seconds(n: int) -> float:
        start = time.perf_counter()
        for _ in range(n):
            update()
        return time.perf_counter() - start

    seconds(1)
    return seconds
