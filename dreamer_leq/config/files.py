"""Configurations in YAML files: configs.yaml with its presets, and a run's own."""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from dreamer_leq.config import learners, tasks
from dreamer_leq.config.checks import (
    YOUNGER_MODELS,
    Flat,
    did_you_mean,
    field_hints,
    flatten,
    given,
    key_sections,
    keys,
    relevant,
    typed,
    validated,
)
from dreamer_leq.config.tree import Config, config_class
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import read_text, replacing

_MOST_VALUES, _MOST_LEVELS = 20_000, 50

# Beside this file lies a link to the one at the top, or, once installed, its copy.
CONFIGS = Path(__file__).with_name("configs.yaml").resolve()

# Keys that are younger than the first runs, with the values that say what those did.
_YOUNGER = {
    **{"seeds": 1, "mesh": "", "ensemble.frequencies": 0, "data.cache_dir": ""},
    **{"analysis.sequences": 64, "analysis.horizon": 15, "analysis.seed": 3000},
    **{"analysis.episodes": 10, "analysis.states": 500, "vectors.standardize": True},
    **{"data.alignment": "auto", "data.rewards": "auto"},
    **{"env": "", "data.observations": "auto", "eval.time_limit": 0},
    **{"checkpoint.keep_best": False, "cql.threshold": 0.0, "cql.cloning": 0},
    **{"td3_bc.n_step": 1, "rebrac.n_step": 1, "cql.n_step": 1},
    **{"algorithm": "leq", "leq.plain": False, "bc.gamma": 0.99, "fqe.gamma": 0.99},
    **{"encoding.samples": 1, "encoding.act_on": "sample", "bc.best": 1.0},
    **{"actor.bc_weighting": "even"},
}


@dataclass(frozen=True)
class Book:
    """configs.yaml: values by preset, and the comment above each key and preset."""

    defaults: Flat
    presets: dict[str, Flat]
    comments: dict[str, str]
    about: dict[str, str]

    def values(self, names: Iterable[str]) -> Flat:
        """The defaults with the named presets over them, in order."""
        flat = dict(self.defaults)
        for name in names:
            if name not in self.presets:
                hint = did_you_mean(name, self.presets)
                known = ", ".join(self.presets)
                raise UserError(f"unknown preset {name!r}{hint} (known: {known})")
            flat |= self.presets[name]
        return flat


def open_book(path: Path) -> Book:
    """Reads and checks all of configs.yaml, unused presets too (once per process)."""
    return _open_book(path, config_class())


@functools.cache
def _open_book(path: Path, kind: type[Config]) -> Book:
    tree = load_mapping(path)
    flats = {name: _leaves(node, f"{path}: {name}") for name, node in tree.items()}
    given = _own_defaults(kind) | flats.pop("defaults", {})
    defaults = _complete(given, f"{path}: defaults")
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = dict(_comments(tree["defaults"], lines))
    about = {name: _comment_above(tree, name, lines) for name in flats}
    return Book(defaults, flats, comments, about)


def _own_defaults(kind: type) -> Flat:
    """The values that sections' classes have themselves: those of other packages."""
    flat: Flat = {}
    for name, section in field_hints(kind).items():
        for field in dataclasses.fields(section) if is_dataclass(section) else ():
            key, value = f"{name}.{field.name}", field.default
            if is_dataclass(value):
                flat |= flatten(value, f"{key}.")
            elif value is not dataclasses.MISSING:
                flat[key] = value
    return flat


def from_presets(*names: str, **overrides: Any) -> Config:
    """The defaults, then the named presets in order, then values by dotted key.

    For tests and benchmarks: `from_presets("debug", **{"leq.tau": 0.3})`. Raises
    UserError for what does not exist or can't be.
    """
    flat = open_book(CONFIGS).values(names)
    flat |= {key: typed(key, value, "") for key, value in overrides.items()}
    return validated(own_task(flat, overrides), "")


def own_task(flat: Flat, overrides: Collection[str]) -> Flat:
    """The values, without those that presets have for a benchmark's task where it is
    one of the user's own: its name is the environment's, and rewards stay as they are,
    where nothing in `overrides` says otherwise.
    """
    name, env = flat["task"], flat["env"]
    if env and "task" not in overrides and tasks.is_env(env):
        name = tasks.name_of(env)
    if tasks.is_task(name) and not env:
        return flat
    plain = {
        f"{section}.{key}": value
        for section, kind in learners.sections().items()
        if issubclass(kind, learners.OwnRewards)
        for key, value in {"reward_scale": 1.0, "reward_bias": 0.0}.items()
        if f"{section}.{key}" not in overrides
    }
    return flat | plain | {"task": name}


def save(config: Config, path: str | Path) -> None:
    """Writes every key that matters to the run; a crash leaves the old file or the
    whole new one.
    """
    tree = dataclasses.asdict(config, dict_factory=_with_lists)
    tops = {key.split(".")[0] for key in relevant(config)}
    tree = {name: value for name, value in tree.items() if name in tops}
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        YAML(typ="rt").dump(tree, file)


def read(path: str | Path) -> Config:
    """The configuration of a saved run, of an earlier version too where it can be told
    what the keys were that it lacks.

    Raises UserError for a file that can't be read, and naming the key that is unknown,
    missing, or of the wrong type.
    """
    path = Path(path)
    stored = _leaves(load_mapping(path), str(path))
    flat = _unused(stored) | _YOUNGER | stored
    return validated(_complete(flat, str(path)), str(path))


def _unused(flat: Flat) -> Flat:
    """The defaults of the sections that a saved run has no keys of and doesn't use."""
    defaults, tops = open_book(CONFIGS).defaults, {key.split(".")[0] for key in flat}
    missing = {*learners.sections(), *YOUNGER_MODELS} - tops
    return {k: v for k, v in defaults.items() if k.split(".")[0] in missing}


def _with_lists(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in items}


def load_mapping(path: Path) -> Any:
    """A file's mapping, in which each key knows its line. Not to be changed: who reads
    the same text gets the same mapping.
    """
    text = read_text(path)
    try:
        tree = _parsed(text)
    except MarkedYAMLError as error:
        at = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = " ".join(str(error.problem).split())
        raise UserError(f"{path}: not valid YAML: {at}{problem}") from None
    except Exception as error:  # its constructors raise anything for a wrong !!int
        problem = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not valid YAML: {problem}") from None
    if not isinstance(tree, Mapping):
        raise UserError(f"{path}: expected keys with values")
    return tree


@functools.lru_cache(maxsize=32)  # a run reads its own configuration in many places
def _parsed(text: str) -> Any:
    _refuse_bombs(text)
    return YAML(typ="rt").load(text)


def _refuse_bombs(text: str) -> None:
    """Raise ValueError for aliases of aliases, which may stand for anything in size.

    Depth counts as well, since ruamel builds and merges what is nested by recursion.
    """
    sizes: dict[str, int] = {}  # values that anchors stand for, aliases written out
    open_nodes: list[tuple[str | None, int]] = []
    count = 0
    for event in YAML().parse(text):
        count += sizes.get(event.anchor, 0) if isinstance(event, AliasEvent) else 1
        if isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, count))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        if count > _MOST_VALUES or len(open_nodes) > _MOST_LEVELS:
            raise ValueError("too many values, or too deeply nested")


def _leaves(node: Any, where: str, prefix: str = "") -> Flat:
    """A mapping's leaves by dotted key, each of its key's type."""
    if not isinstance(node, Mapping):
        section = f"{prefix[:-1]}: " if prefix else ""
        raise UserError(
            f"{where}: {section}expected keys with values, got {given(node)}"
        )
    flat, sections = {}, key_sections()
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key in sections:
            flat |= _leaves(value, where, f"{key}.")
        else:
            flat[key] = typed(key, value, where)
    return flat


def _complete(flat: Flat, where: str) -> Flat:
    for key in keys():
        if key not in flat:
            raise UserError(f"{where}: missing key {key}")
    return flat


def _comments(
    node: Any, lines: list[str], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    """Dotted keys and sections with the comments above them.

    An alias (`*optimizer`) knows the lines of its anchor, and so shares its comments.
    """
    for name, value in node.items():
        key = f"{prefix}{name}"
        yield key, _comment_above(node, name, lines)
        if isinstance(value, Mapping):
            yield from _comments(value, lines, f"{key}.")


def _comment_above(node: Any, name: str, lines: list[str]) -> str:
    """The comment lines right above a key, as indented as the key, in one line."""
    line, column = node.lc.key(name)
    block: list[str] = []
    while line and lines[line - 1].startswith(" " * column + "#"):
        line -= 1
        block.insert(0, lines[line].strip(" #"))
    return " ".join(block)
