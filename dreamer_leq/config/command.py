"""The shortest command line that a configuration is the result of, and back."""

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, get_args, get_origin

from dreamer_leq.config.checks import Flat, keys, relevant
from dreamer_leq.config.files import CONFIGS, Book, from_presets, open_book
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


def parsed(words: Sequence[str]) -> Config:
    """The configuration of a command line that `command` has written; much faster than
    `load`, which takes all command lines.

    Raises UserError for what can't be, ValueError for a command of another kind.
    """
    if words[:2] != ["python", "train_offline.py"]:
        raise ValueError(f"no command of training: {words[:2]}")
    names, flat, given = [EMBEDDED], {}, []
    for word in words[2:]:
        if not word.startswith("--"):
            given.append(word)
            continue
        key, given = word[2:], []
        if key == "configs":
            names = given
            continue
        section, dot, name = key.rpartition(".")
        if key not in keys() and name.startswith("no_"):
            flat[f"{section}{dot}{name.removeprefix('no_')}"] = False
        else:
            flat[key] = given
    read = {k: v if v is False else _value(k, v) for k, v in flat.items()}
    return from_presets(*names, **read)


def _value(key: str, words: list[str]) -> Any:
    """What the words behind a flag say."""
    kind = keys().get(key)
    if kind is bool:
        return True
    many = get_origin(kind) in (tuple, UnionType)
    kinds = set(get_args(kind)) if many else {kind}
    values = [_number(word) if kinds & {int, float} else word for word in words]
    return values if many else values[0] if values else ""


def _number(word: str) -> int | float:
    return int(word) if word.lstrip("-").isdecimal() else float(word)


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
