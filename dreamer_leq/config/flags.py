"""The command line over configs.yaml: tyro reads it, and refusals are one line."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from dreamer_leq.config.checks import (
    Flat,
    choices,
    did_you_mean,
    field_hints,
    flatten,
    keys,
    mismatch,
    typed,
    validated,
    words,
)
from dreamer_leq.config.files import CONFIGS, Book, open_book, own_task
from dreamer_leq.config.tree import Config, config_class
from dreamer_leq.system.errors import UserError

EMBEDDED = "demo"  # the preset of a command line without --configs
ALIASES = {"data": "data.path"}

DESCRIPTION = """\
Every key of configs.yaml is a flag. Flags win over presets, later ones over earlier.

  a value    --leq.tau 0.3
  a switch   --data.skip_bad, off with --data.no_skip_bad
  a list     --latent.mults 1 2 3
"""


def load(argv: Sequence[str], yaml_path: str | Path = CONFIGS) -> Config:
    """The configuration of a command line (without the program's name).

    --help prints every key and exits. Raises UserError for an unknown flag, key or
    preset, a value of the wrong type, and one that can't be.
    """
    book = open_book(Path(yaml_path))
    names = _preset_names(argv, book)
    given = {flag.removeprefix("--") for flag, _ in _groups(argv)}
    return validated(own_task(_parse(argv, book, names), given), "")


def _preset_names(argv: Sequence[str], book: Book) -> list[str]:
    lists = [words for flag, words in _groups(argv) if flag == "--configs"]
    if not all(lists):
        raise UserError(f"--configs needs a name: {', '.join(book.presets)}")
    return [name for names in lists for name in names] or [EMBEDDED]


def _groups(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Each flag, spelled as its key is, with the words that follow it."""
    groups: list[tuple[str, list[str]]] = [("", [])]
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flag = "--" + flag[2:].replace("-", "_")
            groups.append((flag, [value] if equals else []))
        else:
            groups[-1][1].append(word)
    return groups


def _parse(argv: Sequence[str], book: Book, names: list[str]) -> Flat:
    import tyro  # only commands need it

    kind = _flag_class(config_class(), book, names, _named(argv))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, rest = tyro.cli(
                kind,
                args=list(argv),
                description=DESCRIPTION,
                use_underscores=True,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise _refused_value(argv, complaint.getvalue()) from None
    if rest:
        raise _refused_word(argv, rest[0])
    flat = flatten(parsed)
    del flat["configs"]  # read before: the presets are the defaults of this class
    flat = book.values(names) | flat
    return {key: typed(key, value, "") for key, value in flat.items()}


def _named(argv: Sequence[str]) -> set[str]:
    """The keys that tyro has to know: those of the flags, or all where help is asked
    for. It takes a quarter of a second for all of them.
    """
    if {"--help", "-h"} & set(argv):
        return set(keys())
    flags = [flag[2:] for flag, _ in _groups(argv)]
    switches = [re.sub(r"(^|\.)no_(\w+)$", r"\1\2", flag) for flag in flags]
    return {ALIASES.get(name, name) for name in (*flags, *switches)}


def _flag_class(
    kind: type, book: Book, names: list[str], known: set[str], prefix: str = ""
) -> type:
    """`kind` again, with the keys in `known` alone, for tyro: presets as its defaults,
    comments as its help.
    """
    values = book.values(names)
    fields = [] if prefix else [_presets_field(book)]
    for name, hint in field_hints(kind).items():
        key = prefix + name
        if dataclasses.is_dataclass(hint):
            if not any(other.startswith(f"{key}.") for other in known):
                continue
            hint = _flag_class(hint, book, names, known, f"{key}.")
            # a help of its own: else tyro looks for one in sources, half of its time
            metadata = {"help": book.comments.get(key, "")}
            default: Any = dataclasses.field(default=hint(), metadata=metadata)
        elif key not in known:
            continue
        else:
            hint, default = keys()[key], values[key]
            if get_origin(hint) is UnionType:  # one or several
                hint = get_args(hint)[1]
                default = default if isinstance(default, tuple) else (default,)
            hint = Annotated[hint, _explained(key, book, values[key], names)]
        fields.append((name, hint, default))
    about = {"__doc__": book.comments.get(prefix[:-1], "")}
    return dataclasses.make_dataclass(
        kind.__name__, fields, namespace=about, frozen=True
    )


def _explained(key: str, book: Book, value: Any, names: list[str]) -> Any:
    import tyro

    default = book.defaults[key]
    hint = f"default: {_shown(default)}"
    if value != default:
        hint += f"; {' '.join(names)}: {_shown(value)}"
    return tyro.conf.arg(
        help=book.comments.get(key, ""),
        help_behavior_hint=f"({hint})",
        metavar="|".join(choices(key)) or None,
        aliases=[f"--{short}" for short, long in ALIASES.items() if long == key],
    )


def _shown(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text or "empty"


def _presets_field(book: Book) -> tuple[str, Any, Any]:
    import tyro

    width = max(map(len, book.presets))
    rows = [f"{name:{width}}  {about}" for name, about in book.about.items()]
    texts = tyro.conf.arg(
        help="\n".join(["Presets over the defaults, in this order:", *rows]),
        help_behavior_hint=f"(default: {EMBEDDED})",
        metavar="PRESET [PRESET ...]",
    )
    return "configs", Annotated[tuple[str, ...], texts], ()


def _refused_value(argv: Sequence[str], complaint: str) -> UserError:
    """One line for the box that tyro draws around the flag it can't read."""
    named = re.search(r"--([a-z0-9_.]+)", complaint)
    flag = named[1] if named else ""
    key = ALIASES.get(flag, flag)
    if key not in keys():
        return UserError(" ".join(re.sub(r"[╭╮╰╯│─]", " ", complaint).split()))
    given = dict(_groups(argv)).get(f"--{flag}")
    if not given:
        return UserError(f"--{flag}: expected {words(key)}, got nothing")
    return mismatch(key, " ".join(given))


def _refused_word(argv: Sequence[str], word: str) -> UserError:
    """The first word of a command line that belongs to no flag."""
    if word.startswith("-"):
        name = word.lstrip("-").partition("=")[0].replace("-", "_")
        hint = did_you_mean(name, [*keys(), "configs"]).replace("mean ", "mean --")
        return UserError(f"unknown flag {word}{hint or '; see --help'}")
    flag = next((flag for flag, given in _groups(argv) if word in given), "")
    if keys().get(flag[2:]) is bool:
        section, _, name = flag.rpartition(".")
        return UserError(f"{flag} takes no value; it is off with {section}.no_{name}")
    after = f" after {flag}" if flag else ""
    return UserError(f"unexpected word {word!r}{after}; see --help")
