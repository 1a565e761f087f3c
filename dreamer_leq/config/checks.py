"""What a configuration's values have to be, and how to say that one is not.

Here a configuration is flat: a dict from dotted keys ("leq.optimizer.agc") to values.
"""

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from dreamer_leq.config import learners, tasks
from dreamer_leq.config.learners import Optimizer
from dreamer_leq.config.tree import (
    WORLD_MODELS,
    Config,
    Latent,
    WorldModelKind,
    config_class,
)
from dreamer_leq.config.values import PathText, Rule, RunText
from dreamer_leq.system.errors import UserError
from vd4rl_loader.errors import shown
from vd4rl_loader.paths import expanded

Flat = dict[str, Any]

YOUNGER_MODELS = ("frames", "chunks")  # sections that the first runs don't have
_LONGEST_NAME = 100  # comparing longer ones takes long
_SMALLEST_DRQ = 15  # pixels, of which four convolutions leave one


def _leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, hint in field_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def field_hints(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, class attributes left out."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _hints(kind: type[Config]) -> dict[str, Any]:
    return dict(_leaves(kind))


@functools.cache
def _kinds(kind: type[Config]) -> Mapping[str, Any]:
    return MappingProxyType({k: _bare(hint) for k, hint in _hints(kind).items()})


@functools.cache
def _sections(kind: type[Config]) -> frozenset[str]:
    names = _hints(kind)
    return frozenset(k[:i] for k in names for i, char in enumerate(k) if char == ".")


def keys() -> Mapping[str, Any]:
    """Every dotted key with its type, without its rule."""
    return _kinds(config_class())


def choices(key: str) -> list[str]:
    """The names that a key takes; none where its rule is another."""
    rules = getattr(_hints(config_class())[key], "__metadata__", ())
    return [name for rule in rules for name in rule.choices()]


def key_sections() -> frozenset[str]:
    """What stands before the dots of keys: "leq", "leq.actor_optimizer"."""
    return _sections(config_class())


def flatten(tree: Any, prefix: str = "") -> Flat:
    """The leaves of a dataclass tree by dotted key."""
    flat = {}
    for field in dataclasses.fields(tree):
        value, key = getattr(tree, field.name), prefix + field.name
        nested = dataclasses.is_dataclass(value)
        flat |= flatten(value, f"{key}.") if nested else {key: value}
    return flat


def difference(a: Config, b: Config) -> list[str]:
    """The dotted keys in which two configurations differ, in the tree's order: of
    algorithms' sections those that matter to one of them.
    """
    left, right = relevant(a), relevant(b)
    return [key for key in keys() if left.get(key) != right.get(key)]


def relevant(config: Config) -> Flat:
    """The configuration without the sections that its run leaves out: of algorithms,
    and of world models that came later than the first runs; and without the key of
    tasks of one's own where the task is another.
    """
    used = {*config.phases, config.world_model_section}
    others = {*learners.sections(), *YOUNGER_MODELS} - used
    flat = flatten(config)
    if config.about.suite != "own":
        del flat["data.observations"]
    return {k: value for k, value in flat.items() if k.split(".")[0] not in others}


def validated(flat: Flat, where: str) -> Config:
    """The tree of `flat`, which holds every key with a value of its type; homes in
    paths (`~`) are written out.

    Raises UserError, beginning with `where`, for a value that breaks its rule and for
    values that contradict each other.
    """
    for key, hint in _hints(config_class()).items():
        for rule in getattr(hint, "__metadata__", ()):
            if not rule.holds(flat[key]):
                raise UserError(_at(where) + _broken(key, rule, flat[key]))
        if hint in (PathText, RunText):
            flat = flat | {key: expanded(flat[key])}
    config = _assemble(config_class(), flat)
    for problem in _contradictions(config):
        raise UserError(_at(where) + problem)
    return config


def _broken(key: str, rule: Rule, value: Any) -> str:
    """What a value has to be instead."""
    names = list(rule.choices())
    words = f"{rule.words}: {', '.join(names)}" if names else rule.words
    hint = did_you_mean(value, names) if names else ""
    return f"{key}: has to be {words}, got {given(value)}{hint}"


def _assemble(kind: type, flat: Flat, prefix: str = "") -> Any:
    values = {}
    for name, hint in field_hints(kind).items():
        key = prefix + name
        nested = dataclasses.is_dataclass(hint)
        values[name] = _assemble(hint, flat, f"{key}.") if nested else flat[key]
    return kind(**values)


def _contradictions(config: Config) -> Iterator[str]:
    """What no single value can tell: keys that do not go together."""
    latent, actor, video = config.latent, config.actor, config.video
    yield from _unknown_task(config)
    yield from _wrong_world_model(config)
    yield from _indivisible("latent.deter", latent.deter, latent.blocks)
    channels = latent.depth * latent.mults[-1]
    yield from _indivisible("latent.depth × last of mults", channels, latent.blocks)
    if config.world_model == "frames":
        yield from _wrong_frames(config)
    elif config.about.pixels:
        yield from _wrong_image_side(config.data.image_size, latent)
    yield from _undivided_batches(config)
    if config.own.networks and actor.network not in config.own.networks:
        fit, name = " or ".join(config.own.networks), config.algorithm
        yield f"actor.network: {name} goes on from a cloned policy, give {fit}"
    if config.own.outputs and config.critic.output not in config.own.outputs:
        flags = " or ".join(f"--critic.output {x}" for x in config.own.outputs)
        yield f"critic.output: {config.algorithm} moves Q by its mean: give {flags}"
    if actor.min_std > actor.max_std:
        yield f"actor.min_std: {actor.min_std} is above actor.max_std, {actor.max_std}"
    if video.context >= video.length:
        yield f"video.context: {video.context} fills video.length, {video.length}"
    yield from _endless_warmup("latent.optimizer", latent.updates, latent.optimizer)
    for name in config.phases[1:]:
        section = getattr(config, name)
        for key, optimizer in optimizers(section).items():
            yield from _endless_warmup(f"{name}.{key}", section.updates, optimizer)
    if config.checkpoint.keep_best and config.members:
        yield "checkpoint.keep_best: not of a grid: its members are best at other times"


def _unknown_task(config: Config) -> Iterator[str]:
    name = config.task
    if config.about.suite == "own" and config.eval.episodes and not config.env:
        near = tasks.likely(name)
        meant = f"did you mean {near}? Or " if near else ""
        if near and "-singletask" in name:
            meant = f"did you mean {near} (its tasks are 1 to 5)? Or "
        yield (
            f"task: there is no environment {name!r} here: {meant}give yours, --env "
            "MODULE:FUNCTION, or train without scores, --eval.episodes 0 (or give "
            f"{tasks.WORDS})"
        )
    seen = config.data.observations
    if seen != "auto" and config.about.pixels != (seen == "image"):
        has = "images" if config.about.pixels else "state vectors"
        yield f"data.observations: {seen}, but {name} has {has}"


def optimizers(section: Any) -> dict[str, Optimizer]:
    """A section's optimisers by the names of their keys."""
    values = {x.name: getattr(section, x.name) for x in dataclasses.fields(section)}
    return {name: x for name, x in values.items() if isinstance(x, Optimizer)}


def _wrong_image_side(size: int, latent: Latent) -> Iterator[str]:
    """Decoders begin at 4x4 pixels and double the side (world_models/vision.py)."""
    doublings = (size // 4).bit_length() - 1
    if size < 4 or size != 4 * 2**doublings:
        # what conv's mults make, or patch's at least
        made = 4 * 2 ** (len(latent.mults) - (latent.image == "conv"))
        if latent.image == "patch" and doublings > 0:
            made = max(made, 4 * 2**doublings)
        yield (
            f"data.image_size: no decoder makes images of {size}, only of 4, 8, 16, … "
            f"pixels: --data.image_size {made} resizes them"
        )
    # conv's last layer keeps the resolution; patch's first takes what remains
    elif latent.image == "conv" and doublings != len(latent.mults) - 1:
        side = 4 * 2 ** (len(latent.mults) - 1)
        fit = _mults_of(latent.mults, doublings + 1)
        yield f"data.image_size: {size}, but latent.mults make images of {side}; {fit}"
    elif latent.image == "patch" and doublings < len(latent.mults):
        least, fit = 4 * 2 ** len(latent.mults), _mults_of(latent.mults, doublings)
        yield f"data.image_size: {size}, but latent.mults need at least {least}; {fit}"


def _wrong_frames(config: Config) -> Iterator[str]:
    """Encoders of stacked frames (world_models/frames.py)."""
    size, frames = config.data.image_size, config.frames
    side = 4 * 2 ** len(frames.mults)
    if frames.image == "drq" and size < _SMALLEST_DRQ:
        yield f"data.image_size: {size}, but frames.image drq needs {_SMALLEST_DRQ}"
    elif frames.image == "patch" and (size % side or (size // 4).bit_count() != 1):
        yield (
            f"data.image_size: {size}, but frames.image patch with these frames.mults "
            f"takes {side}, {2 * side}, {4 * side}, … pixels; drq takes any"
        )


def _mults_of(mults: tuple[int, ...], layers: int) -> str:
    """A flag with as many multiples, the last ones repeated or left out."""
    if not layers:
        return "give at least 8"
    found = (*mults, *[mults[-1]] * layers)[:layers]
    return f"--latent.mults {' '.join(map(str, found))} fits"


def _indivisible(key: str, number: int, blocks: int) -> Iterator[str]:
    if number % blocks:
        yield f"{key}: {number} is not a multiple of latent.blocks, {blocks}"


def _reads(kind: WorldModelKind, pixels: bool) -> bool:
    return kind.pixels if pixels else kind.vectors


def _wrong_world_model(config: Config) -> Iterator[str]:
    ensemble = config.ensemble
    name = config.world_model
    kind, pixels = WORLD_MODELS[name], config.about.pixels
    kinds = WORLD_MODELS.items()
    imagining = [k for k, kind in kinds if kind.imagines and not kind.chunks]
    models = config.own.models or (imagining if config.own.imagines else WORLD_MODELS)
    either = config.about.suite == "own" and config.data.observations == "auto"
    fit = [k for k in models if either or _reads(WORLD_MODELS[k], pixels)]
    has = f"{config.task} has {'pixels' if pixels else 'state vectors'}"
    give = ": give " + " or ".join(f"--world_model {k}" for k in fit)
    if not fit:
        reads = "state vectors" if pixels else "images"
        yield f"algorithm: {config.algorithm} reads {reads}, {has}: give another one"
    elif name not in models:
        verb = "imagines" if config.own.imagines else "learns an encoder"
        yield f"world_model: {config.algorithm} {verb}, not with {name}{give}"
    elif not _reads(kind, pixels):
        reads = "state vectors" if pixels else "images"
        yield f"world_model: {name} reads {reads}, {has}{give}"
    if ensemble.elites > ensemble.members:
        yield (
            f"ensemble.elites: {ensemble.elites} of ensemble.members, "
            f"{ensemble.members}"
        )
    if config.actor.stochastic and config.actor.update in ("q", "awr"):
        yield f"actor.stochastic: not with actor.update {config.actor.update}"


def _undivided_batches(config: Config) -> Iterator[str]:
    """Batches are those of all devices together."""
    if config.mesh and config.members:
        yield "mesh: a grid of coefficients and seeds is trained on one device"
    parts = config.mesh_axes.get("data", 1)
    later = [name for name in config.phases[1:] if getattr(config, name).updates]
    for phase in (config.world_model_section, *later):
        batch = getattr(getattr(config, phase), "batch", 0)
        if batch % parts:
            yield f"{phase}.batch: {batch} can't be divided over mesh {config.mesh}"


def _endless_warmup(key: str, updates: int, optimizer: Optimizer) -> Iterator[str]:
    if optimizer.schedule == "cosine" and 0 < updates <= optimizer.warmup:
        phase = key.partition(".")[0]
        yield (
            f"{key}.warmup: has to be below {phase}.updates, {updates}; "
            f"got {optimizer.warmup}"
        )


def typed(key: str, value: Any, where: str) -> Any:
    """`value` as its key's plain Python type; UserError for a wrong one."""
    if key not in (kinds := keys()):
        hint = did_you_mean(key, kinds)
        raise UserError(f"{_at(where)}unknown key {shown(key)}{hint}")
    try:
        return _coerce(value, kinds[key])
    except (TypeError, OverflowError):
        raise mismatch(key, value, where) from None


def _coerce(value: Any, kind: Any) -> Any:
    """`value` as a `kind`, without its YAML subclass; TypeError if it is none."""
    if get_origin(kind) is UnionType:  # one or several: a list of one is its value
        items = _coerce(value, get_args(kind)[1])
        return items[0] if len(items) == 1 else items
    if get_origin(kind) is tuple:  # a single value is a list of one
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_coerce(item, get_args(kind)[0]) for item in items)
    if get_origin(kind) is Literal:
        kind, fits = str, value in get_args(kind)
    elif isinstance(value, bool):
        fits = kind is bool
    else:
        fits = isinstance(value, (int, float) if kind is float else kind)
    if not fits:
        raise TypeError
    return kind(value)


def mismatch(key: str, value: Any, where: str = "") -> UserError:
    """The error for a value of the wrong type."""
    kind = keys()[key]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    hint = did_you_mean(str(value), choices)
    told = f"expected {words(key)}, got {given(value)}"
    return UserError(f"{_at(where)}{key}: {told}{hint}")


def given(value: Any) -> str:
    """A value from a file or flag, in a few words.

    What a YAML file's aliases stand for may be too much to be written out.
    """
    if isinstance(value, Mapping):
        return "keys with values"
    if isinstance(value, list | tuple):
        plain = len(value) < 20 and all(isinstance(x, int | float | str) for x in value)
        return shown(repr(value)) if plain else "a list"
    return shown(repr(value))


def words(key: str) -> str:
    """A key's type in words."""
    kind = keys()[key]
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) in (tuple, UnionType):
        whole = get_args(kind)[0] is int
        return "a list of whole numbers" if whole else "a number, or several"
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "text")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A hint at the nearest right name: one with the same last part, if there is."""
    names, name = list(names), name[:_LONGEST_NAME]
    last = name.rpartition(".")[2]
    same = [right for right in names if right.rpartition(".")[2] == last]
    near = difflib.get_close_matches(name, same, n=1, cutoff=0)
    near = near or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _at(where: str) -> str:
    return f"{where}: " if where else ""
