"""From a sweep's file to its jobs: what is trained together, and what waits for what.

Nothing here looks at a disk: the same file gives the same jobs.
"""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamer_leq import config as configs
from dreamer_leq.config import Config
from dreamer_leq.config.checks import Flat, relevant
from dreamer_leq.config.command import flags_of
from dreamer_leq.config.files import open_book
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.config.shared_keys import WORLD_MODEL_KEYS, begins
from dreamer_leq.config.tree import WORLD_MODELS
from dreamer_leq.sweeps.file import Part, SweepFile
from dreamer_leq.system.errors import UserError

WORLD_MODEL, TRAIN, ESTIMATE = "world_model", "train", "estimate"
_DATA = ("data.", "collect.")


@dataclass(frozen=True)
class Job:
    """One process of the sweep.

    Attributes:
      name: tells it from the sweep's others.
      kind: WORLD_MODEL, TRAIN or ESTIMATE.
      folder: of the run that it trains or estimates.
      words: its command, behind `python -m dreamer_leq`.
      config: of the run.
      method: what its runs are called in tables, without their coefficients.
      after: names of the jobs that it waits for.
    """

    name: str
    kind: str
    folder: Path
    words: tuple[str, ...]
    config: Config
    method: str
    after: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command as one types it."""
        return shlex.join(["python", "-m", "dreamer_leq", *self.words])

    @property
    def runs(self) -> dict[str, Config]:
        """The runs that it trains, by their folders."""
        members = self.config.members
        found = {str(self.folder / name): own for name, own in members.items()}
        return found or {str(self.folder): self.config}


@dataclass(frozen=True)
class _Cell:
    """The keys of one job, before it has a world model of others."""

    task: str
    algorithm: str  # its name in the file
    presets: tuple[str, ...]
    flat: Flat
    axes: Flat  # those of `flat` that are axes, coefficients left out
    seeds: tuple[int, ...]
    name: str
    config: Config = field(repr=False, compare=False, default=None)


def plan(sweep: SweepFile) -> list[Job]:
    """The jobs of a sweep, each behind those that it waits for.

    Raises UserError, with file, line and key, for a run that can't be.
    """
    jobs: list[Job] = []
    for task, about in sweep.tasks.items():
        cells = [
            _checked(sweep, cell)
            for name, own in sweep.algorithms.items()
            for cell in _cells(sweep, task, name, own.over(about.over(sweep.common)))
        ]
        shared = _shared_world_models(sweep, cells)
        jobs += shared.values()
        for cell in cells:
            jobs += _jobs(sweep, cell, shared.get(_world(sweep, cell.config)))
    _refuse_same_folders(sweep, jobs)
    return jobs


def _cells(sweep: SweepFile, task: str, name: str, part: Part) -> Iterator[_Cell]:
    """The jobs of one task and algorithm: the product of the axes; coefficients and
    seeds that are trained in one program are one.
    """
    algorithm = _algorithm(part)
    part = _of_algorithm(part, algorithm)
    grid = {f"{algorithm}.{key}" for key in configs.sections()[algorithm].varies}
    together = grid & part.axes.keys() if sweep.together else set()
    rest = {k: v for k, v in part.axes.items() if k not in together}
    given = {k: v[0] if len(v) == 1 else v for k, v in part.axes.items() if k in grid}
    given = {k: v for k, v in given.items() if k in together}
    for values in itertools.product(*rest.values()):
        axes = dict(zip(rest, values, strict=True))
        flat = {"task": task, **part.fixed, **axes, **given}
        own = {k: v for k, v in axes.items() if k not in grid}
        for seeds in _groups(sweep, _imagines(part, flat)):
            several = len(seeds) > 1 or any(
                isinstance(x, tuple) for x in given.values()
            )
            kept = {k: v for k, v in axes.items() if k in grid}
            alone = sweep.world_models == "per_seed" and len(seeds) == 1
            first = seeds[0] == sweep.seeds[0] and not alone
            inner = _place(kept, seeds, several, first)
            place = f"{task}/{'-'.join([name, *_labels(own)])}/{inner}"
            yield _Cell(task, name, part.configs, flat, own, seeds, place)


def _algorithm(part: Part) -> str:
    values = open_book(configs.CONFIGS).values(part.configs)
    return part.fixed.get("algorithm", values["algorithm"])


def _of_algorithm(part: Part, algorithm: str) -> Part:
    """Without keys of other algorithms, which change nothing."""
    known = configs.sections()
    others = known.keys() - {algorithm, *known[algorithm].after}

    def own(values: Flat) -> Flat:
        return {k: v for k, v in values.items() if k.partition(".")[0] not in others}

    return Part(part.configs, own(part.fixed), own(part.axes))


def _imagines(part: Part, flat: Flat) -> bool:
    """Whether a job has a model to imagine in."""
    values = open_book(configs.CONFIGS).values(part.configs)
    return WORLD_MODELS[flat.get("world_model", values["world_model"])].imagines


def _groups(sweep: SweepFile, imagines: bool) -> list[tuple[int, ...]]:
    """The seeds that one job has: those in a row, or each alone."""
    if not sweep.together or (imagines and sweep.world_models == "per_seed"):
        return [(seed,) for seed in sweep.seeds]
    rows = itertools.groupby(enumerate(sweep.seeds), key=lambda pair: pair[1] - pair[0])
    return [tuple(seed for _, seed in row) for _, row in rows]


def _place(kept: Flat, seeds: Sequence[int], several: bool, first: bool) -> str:
    """The last part of a folder's name: it stays as a sweep grows."""
    if not several:
        return "-".join([*_labels(kept), f"seed{seeds[0]}"])
    return "grid" if first else f"grid-seed{seeds[0]}"


def _labels(values: Flat) -> list[str]:
    """Keys with their values as parts of a folder's name."""
    last = {key: key.rpartition(".")[2] for key in values}
    ends = Counter(last.values())
    names = {key: short if ends[short] == 1 else key for key, short in last.items()}
    return [f"{names[key]}{_text(value)}" for key, value in values.items()]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "_".join(map(_text, value))
    text = f"{value:g}" if isinstance(value, float) else str(value).lower()
    return re.sub(r"[^\w.+-]", "_", text)


def _checked(sweep: SweepFile, cell: _Cell) -> _Cell:
    """The cell with its configuration."""
    flat = cell.flat | {
        "logdir": str(sweep.folder / cell.name),
        "seed": cell.seeds[0],
        "seeds": len(cell.seeds),
    }
    try:
        return replace(
            cell, flat=flat, config=configs.from_presets(*cell.presets, **flat)
        )
    except UserError as error:
        key = str(error).partition(":")[0]
        raise UserError(f"{sweep.at(key)}: {cell.name}: {error}") from None


# --- world models that several jobs share


def _world(sweep: SweepFile, config: Config) -> Any:
    """What the world model of a job depends on, the same for those that can share it;
    None where it has none to share.
    """
    if sweep.world_models == "own" or not config.imagines:
        return None
    names, settings = (*WORLD_MODEL_KEYS, *_DATA), relevant(config).items()
    own = [(key, str(value)) for key, value in settings if begins(key, names)]
    return (*own, config.seed if sweep.world_models == "per_seed" else None)


def _shared_world_models(sweep: SweepFile, cells: Sequence[_Cell]) -> dict[Any, Job]:
    """The jobs of a task that train what several of its others need."""
    counts = Counter(_world(sweep, cell.config) for cell in cells)
    jobs: dict[Any, Job] = {}
    taken: set[str] = set()
    for cell in cells:
        world = _world(sweep, cell.config)
        if world is None or counts[world] == 1 or world in jobs:
            continue
        names = (*WORLD_MODEL_KEYS, *_DATA)
        axes = {k: v for k, v in cell.axes.items() if begins(k, names)}
        name = "-".join([f"{cell.task}/{WORLD_MODEL}", *_labels(axes)])
        if sweep.world_models == "per_seed":
            name += f"-seed{cell.seeds[0]}"
        name = name if name not in taken else f"{name}-{cell.algorithm}"
        taken.add(name)
        jobs[world] = _world_model_job(sweep, cell, name)
    return jobs


def _world_model_job(sweep: SweepFile, cell: _Cell, name: str) -> Job:
    """The training of a world model alone: all that follows has no updates.

    What it is given is that of the task, as far as that makes the same world model, so
    that it stays the same when algorithms come and go.
    """
    kept = (*WORLD_MODEL_KEYS, *_DATA, *FREE_KEYS)
    flat = {k: v for k, v in cell.flat.items() if begins(k, kept)}
    flat["algorithm"] = configs.DEFAULT
    after = configs.sections()[configs.DEFAULT].after
    flat |= {f"{phase}.updates": 0 for phase in (*after, configs.DEFAULT)}
    flat |= {"logdir": str(sweep.folder / name), "seed": cell.config.seed, "seeds": 1}
    task = sweep.tasks[cell.task].over(sweep.common).configs
    for presets in (task, cell.presets):
        config = configs.from_presets(*presets, **flat)
        if _world(sweep, config) == _world(sweep, cell.config):
            break
    return _job(sweep, name, WORLD_MODEL, presets, flat, config, WORLD_MODEL)


def _jobs(sweep: SweepFile, cell: _Cell, world: Job | None) -> Iterator[Job]:
    """The training of a cell, and what follows it."""
    flat, config = cell.flat, cell.config
    if world:
        given = {"pretrained": str(world.folder)}
        flat, config = flat | given, replace(config, **given)
    method = _method(sweep, cell)
    after = (world.name,) if world else ()
    train = _job(sweep, cell.name, TRAIN, cell.presets, flat, config, method, after)
    yield train
    if sweep.offline_estimate:
        words = ("eval", "--logdir", str(train.folder), "--report", "--episodes", "1")
        name = f"{train.name}:{ESTIMATE}"
        yield Job(
            name, ESTIMATE, train.folder, words, config, method, after=(train.name,)
        )


def _job(
    sweep: SweepFile,
    name: str,
    kind: str,
    presets: Sequence[str],
    flat: Flat,
    config: Config,
    method: str,
    after: tuple[str, ...] = (),
) -> Job:
    words = ("train", *(["--configs", *presets] if presets else []), *flags_of(flat))
    return Job(name, kind, sweep.folder / name, words, config, method, after)


def _method(sweep: SweepFile, cell: _Cell) -> str:
    """What the runs are called in tables."""
    known = configs.sections().get(cell.algorithm)
    title = known.title if known else cell.algorithm
    last = {key: key.rpartition(".")[2] for key in cell.axes}
    told = [f"{last[key]} {_text(value)}" for key, value in cell.axes.items()]
    return " ".join([title, *told])


def _refuse_same_folders(sweep: SweepFile, jobs: Sequence[Job]) -> None:
    counts = Counter(job.name for job in jobs)
    for name, count in counts.items():
        if count > 1:
            raise UserError(
                f"{sweep.path}: two jobs would have the folder {name}: call their "
                "algorithms, or give their values, differently"
            )
