"""The shortest command line that a configuration is the result of."""

from collections.abc import Iterator
from typing import Any

from dreamer_leq.config.checks import Flat, relevant
from dreamer_leq.config.files import CONFIGS, Book, open_book
from dreamer_leq.config.flags import EMBEDDED
from dreamer_leq.config.tree import Config


def command(config: Config) -> list[str]:
    """Words of a command line that `load` reads as `config`: presets, then flags.

    Presets are added as long as each saves a flag.
    """
    book, wanted = open_book(CONFIGS), relevant(config)
    names = min(
        ([name] for name in book.presets), key=lambda n: _flags(book, n, wanted)
    )
    while better := _better(book, names, wanted):
        names = better
    rest = _rest(book, names, wanted)
    flags = flags_of(dict(rest))
    presets = [] if names == [EMBEDDED] else ["--configs", *names]
    return ["python", "train_offline.py", *presets, *flags]


def flags_of(values: Flat) -> list[str]:
    """The words of a command line that give keys their values."""
    return [word for key, value in values.items() for word in _flag(key, value)]


def _better(book: Book, names: list[str], wanted: Flat) -> list[str] | None:
    more = [[*names, name] for name in book.presets if name not in names]
    best = min(more, key=lambda n: _flags(book, n, wanted))
    return best if _flags(book, best, wanted) < _flags(book, names, wanted) else None


def _flags(book: Book, names: list[str], wanted: Flat) -> int:
    """The flags that are needed beside presets."""
    return sum(1 for _ in _rest(book, names, wanted))


def _rest(book: Book, names: list[str], wanted: Flat) -> Iterator[tuple[str, Any]]:
    """What the presets leave to flags."""
    values = book.values(names)
    return ((key, value) for key, value in wanted.items() if values[key] != value)


def _flag(key: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        section, dot, name = key.rpartition(".")
        return [f"--{key}" if value else f"--{section}{dot}no_{name}"]
    if isinstance(value, tuple):
        return [f"--{key}", *map(str, value)]
    return [f"--{key}", str(value)]
