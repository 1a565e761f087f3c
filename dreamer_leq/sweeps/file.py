"""A sweep's file: what is varied, read and checked, with the lines where it stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from dreamer_leq.config import CONFIGS, learners, tasks
from dreamer_leq.config.checks import (
    Flat,
    did_you_mean,
    given,
    key_sections,
    keys,
    typed,
)
from dreamer_leq.config.files import load_mapping, open_book
from dreamer_leq.system.errors import UserError
from vd4rl_loader.errors import shown
from vd4rl_loader.paths import WORDS, expanded, is_path

TOP = (
    *("name", "folder", "configs", "tasks", "algorithms", "seeds", "flags"),
    *("world_models", "together", "choose", "offline_estimate"),
)
SHARING = ("shared", "per_seed", "own")
CHOICES = ("online", "offline")
# Keys that the sweep gives to each job itself.
OWN_KEYS = ("task", "logdir", "seed", "seeds", "pretrained", "mesh")
_SHORT = {"data": "data.path"}
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Part:
    """Presets and keys of a task, an algorithm or of all jobs: keys with one value, and
    those with several, each of which is an axis.
    """

    configs: tuple[str, ...] = ()
    fixed: Flat = field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def over(self, other: "Part") -> "Part":
        """This part's presets after the other's, its keys in place of the other's."""
        own = {**self.fixed, **self.axes}
        fixed = {k: v for k, v in other.fixed.items() if k not in own}
        axes = {k: v for k, v in other.axes.items() if k not in own}
        presets = (*other.configs, *(c for c in self.configs if c not in other.configs))
        return Part(presets, fixed | self.fixed, axes | self.axes)


@dataclass(frozen=True)
class SweepFile:
    """What a sweep's file says. `lines` has the line of each key, where it is known.

    Attributes:
      world_models: "shared" by all seeds of a task, "per_seed", or each job its "own".
      together: whether coefficients and seeds are trained in one program.
      choose: by what a coefficient is chosen for the table.
      offline_estimate: whether each policy is estimated by the dataset alone, too.
    """

    path: Path
    name: str
    folder: Path
    tasks: dict[str, Part]
    algorithms: dict[str, Part]
    common: Part
    seeds: tuple[int, ...]
    world_models: str
    together: bool
    choose: str
    offline_estimate: bool
    lines: dict[str, int]

    def at(self, key: str) -> str:
        """The beginning of a message about a key."""
        return f"{self.path}" + (
            f", line {self.lines[key]}" if key in self.lines else ""
        )


def read(path: str | Path) -> SweepFile:
    """The sweep of a file. Raises UserError: one line with file, line and key."""
    return _Reader(Path(path)).sweep()


class _Reader:
    """One file that is read; `lines` grows on the way."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, {}
        self.tree = load_mapping(path)

    def sweep(self) -> SweepFile:
        tree = self.tree
        for key in tree:
            if key not in TOP:
                raise self.refusal(tree, key, f"unknown key{_near(key, TOP)}")
        for key in ("name", "tasks", "algorithms"):
            if not tree.get(key):
                raise UserError(f"{self.path}: {key} is missing")
        name = self._name()
        choose = self._choice("choose", CHOICES)
        return SweepFile(
            self.path,
            name,
            self._folder(name),
            self._tasks(),
            self._algorithms(),
            self._part(tree, "flags", {"configs": tree.get("configs")}),
            self._seeds(),
            self._choice("world_models", SHARING),
            self._switch("together", True),
            choose,
            self._switch("offline_estimate", choose == "offline"),
            self.lines,
        )

    def refusal(self, node: Any, key: Any, text: str) -> UserError:
        """The error for a key of a mapping, with its line."""
        line = _line(node, key)
        at = f", line {line}" if line else ""
        return UserError(f"{self.path}{at}: {shown(str(key))}: {text}")

    def _name(self) -> str:
        name = self.tree["name"]
        if not isinstance(name, str) or "/" in name or not is_path(name):
            raise self.refusal(self.tree, "name", "has to be a word, without a slash")
        return str(name)

    def _folder(self, name: str) -> Path:
        folder = self.tree.get("folder", f"runs/{name}")
        if not isinstance(folder, str) or not is_path(folder):
            raise self.refusal(self.tree, "folder", f"has to be {WORDS}")
        return Path(expanded(folder))

    def _choice(self, key: str, names: tuple[str, ...]) -> str:
        value = self.tree.get(key, names[0])
        if value not in names:
            near = did_you_mean(str(value), names)
            raise self.refusal(
                self.tree,
                key,
                f"has to be {' or '.join(names)}, got {given(value)}{near}",
            )
        return str(value)

    def _switch(self, key: str, default: bool) -> bool:
        value = self.tree.get(key, default)
        if not isinstance(value, bool):
            raise self.refusal(
                self.tree, key, f"has to be true or false, got {given(value)}"
            )
        return value

    def _seeds(self) -> tuple[int, ...]:
        """The seeds in order; a number N means 0 to N − 1."""
        value = self.tree.get("seeds", 1)
        found = range(value) if type(value) is int and value > 0 else value
        if isinstance(found, range | list) and 1 <= len(found) <= _MOST_SEEDS:
            seeds = tuple(found)
            if all(type(s) is int and s >= 0 for s in seeds) and _distinct(seeds):
                return tuple(sorted(seeds))
        raise self.refusal(
            self.tree,
            "seeds",
            f"has to be how many, up to {_MOST_SEEDS}, or a list of different whole "
            f"numbers, got {given(value)}",
        )

    def _named(self, key: str) -> Mapping[str, Any]:
        """The entries of `tasks` or `algorithms`, of which some may be names alone."""
        node = self.tree[key]
        if isinstance(node, str):
            node = [node]
        if isinstance(node, list) and all(isinstance(x, str) for x in node):
            if not _distinct(node):
                raise self.refusal(self.tree, key, "a name stands there twice")
            return dict.fromkeys(map(str, node))
        if isinstance(node, Mapping) and all(isinstance(x, str) for x in node):
            return node
        raise self.refusal(self.tree, key, "has to be names, or names with their keys")

    def _tasks(self) -> dict[str, Part]:
        found, nodes = {}, self._named("tasks")
        everybodys = self.tree.get("flags")
        for name, node in nodes.items():
            node = {"data": node} if isinstance(node, str) else node
            own = any("env" in x for x in (node, everybodys) if isinstance(x, Mapping))
            if not (tasks.is_name(name) if own else tasks.is_task(name)):
                raise self.refusal(nodes, name, f"tasks: is not {tasks.WORDS}")
            found[str(name)] = self._part({name: node}, name, outer=nodes)
        return found

    def _algorithms(self) -> dict[str, Part]:
        found, nodes = {}, self._named("algorithms")
        for name, node in nodes.items():
            if "/" in name or not is_path(name):
                raise self.refusal(nodes, name, "has to be a word, without a slash")
            part = self._part({name: node}, name, outer=nodes, own=("algorithm",))
            found[str(name)] = self._with_algorithm(nodes, str(name), part)
        return found

    def _with_algorithm(self, nodes: Any, name: str, part: Part) -> Part:
        """The part with the algorithm that its name, its keys or its presets say."""
        known = {k: v for k, v in part.fixed.items() if k == "algorithm"}
        presets = open_book(CONFIGS).presets
        by_preset = [p for p in part.configs if "algorithm" in presets[p]]
        if not known and learners.is_algorithm(name):
            known = {"algorithm": name}
        if not known and not by_preset:
            near = did_you_mean(name, learners.sections())
            raise self.refusal(
                nodes,
                name,
                f"is no algorithm{near}; a name of your own needs a key `algorithm`",
            )
        return Part(part.configs, part.fixed | known, part.axes)

    def _part(
        self,
        tree: Mapping,
        name: str,
        more: Mapping[str, Any] | None = None,
        outer: Any = None,
        own: tuple[str, ...] = (),
    ) -> Part:
        """The presets and keys below `name`, and those of `more`."""
        node = tree.get(name)
        outer = tree if outer is None else outer
        if not isinstance(node, Mapping | None):
            raise self.refusal(outer, name, f"expected keys, got {given(node)}")
        node = node or {}
        part = Part(self._presets((more or {}).get("configs"), self.tree))
        part = Part((*part.configs, *self._presets(node.get("configs"), node)))
        self._fill(part, node, own, "")
        return part

    def _presets(self, value: Any, node: Any) -> tuple[str, ...]:
        names = [value] if isinstance(value, str) else value or []
        if not isinstance(names, list) or not all(isinstance(x, str) for x in names):
            raise self.refusal(node, "configs", f"expected presets, got {given(value)}")
        known = open_book(CONFIGS).presets
        for name in names:
            if name not in known:
                near = _near(name, known)
                raise self.refusal(
                    node, "configs", f"unknown preset {shown(name)}{near}"
                )
        return tuple(map(str, names))

    def _fill(self, part: Part, node: Mapping, own: Iterable[str], prefix: str) -> None:
        """Put a mapping's keys into the part, by dotted key."""
        for name, value in node.items():
            if name == "configs" and not prefix:
                continue
            key = _SHORT.get(f"{prefix}{name}", f"{prefix}{name}")
            if key in key_sections():
                if not isinstance(value, Mapping):
                    raise self.refusal(node, name, f"expected keys, got {given(value)}")
                self._fill(part, value, own, f"{key}.")
                continue
            if key in OWN_KEYS or (key == "algorithm" and key not in own):
                raise self.refusal(node, name, "the sweep gives this to each job")
            if key not in keys():
                raise self.refusal(node, name, f"unknown key{_near(key, keys())}")
            if line := _line(node, name):
                self.lines[key] = line
            self._put(part, node, name, key, value)

    def _put(self, part: Part, node: Any, name: str, key: str, value: Any) -> None:
        where = str(self.path)
        if key in self.lines:
            where += f", line {self.lines[key]}"
        is_list = get_origin(keys()[key]) is tuple
        several = isinstance(value, list) and (
            not is_list or any(isinstance(x, list) for x in value)
        )
        if not several:
            part.fixed[key] = typed(key, value, where)
            return
        values = tuple(typed(key, x, where) for x in value)
        if not values or not _distinct(values):
            raise self.refusal(node, name, "needs values that are different")
        part.axes[key] = values


def _line(node: Any, key: Any) -> int | None:
    """Where a key of a mapping stands, from 1; None where that isn't known."""
    lines = getattr(getattr(node, "lc", None), "data", None) or {}
    return lines[key][0] + 1 if key in lines else None


def _distinct(values: Iterable[Any]) -> bool:
    values = list(values)
    return len(set(values)) == len(values)


def _near(name: Any, names: Iterable[str]) -> str:
    """The nearest right name, or all where none is near and they are few."""
    names = list(names)
    hint = did_you_mean(str(name), names)
    return hint or (f" (known: {', '.join(names)})" if len(names) < 30 else "")
