"""The dataset of a run: read from disk, or made here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.config.learners import unrewarded
from dreamer_leq.system.errors import UserError
from vd4rl_loader import Dataset, open_dataset
from vd4rl_loader.collection.pixels import collect
from vd4rl_loader.collection.pointmaze import collect_pointmaze
from vd4rl_loader.dataset import is_image_data
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.states import (
    IDENTITY,
    MINUS_ONE,
    RewardTransform,
    StateDataset,
    expected_file,
    is_state_data,
    open_states,
    return_range_transform,
)

DATASETS = Path("datasets")

AnyDataset = Dataset | StateDataset
Log = Callable[[str], None]


def open_data(config: Config, log: Log) -> tuple[AnyDataset, str]:
    """The dataset of `config`, and where it lies. Collected datasets are kept and
    reused.

    Raises UserError where there is none and none is to be made, or where it is of
    another environment; DataError where what is there can't be used.
    """
    own = config.about.suite == "own"
    if own:
        _refuse_other_kind(config)
    if not config.about.pixels:
        path = config.data.path or _state_file(config, log)
        states = open_states(path, config.task, config.data.skip_bad, log, own)
        _refuse_equal_rewards(config, states, path)
        return states, str(path)
    ogbench = config.about.suite == "ogbench"
    path = config.data.path or (_state_file if ogbench else _collected)(config, log)
    dataset = open_dataset(
        path,
        None if own else config.task if ogbench else config.about.environment["task"],
        None if own else config.about.level,
        image_size=config.data.image_size,
        min_length=config.latent.length if config.imagines else 2,
        skip_bad=config.data.skip_bad,
        cache_dir=config.data.cache_dir or None,
        log=log,
        alignment=config.data.alignment,
        own=own,
    )
    if not own or config.data.observations == "image":
        dataset = dataset.without_vector()
    if dataset.spec.vector_size and config.world_model == "frames":
        raise UserError(
            f"{path}: has vectors beside its images, which stacked frames can't take: "
            "--data.observations image leaves them out"
        )
    _refuse_equal_rewards(config, dataset, path)
    return dataset, str(path)


def open_data_at(path: str | Path, config: Config, log: Log) -> AnyDataset:
    """The dataset of `config` where it lies now. Raises as `open_data`."""
    data = replace(config.data, path=str(path))
    return open_data(replace(config, data=data), log)[0]


def reward_transform(config: Config, dataset: AnyDataset) -> RewardTransform:
    """How the algorithm sees the dataset's rewards: raw, or else as its own section has
    it, or as the code of LEQ's paper has it for the task.
    """
    if config.data.rewards == "auto" and config.own.rewards:
        return RewardTransform(*config.own.rewards)
    kind = config.about.reward if config.data.rewards == "auto" else "none"
    if kind == "return_range" and (config.own.rewarded or np.ptp(dataset.returns())):
        return return_range_transform(dataset)
    return MINUS_ONE if kind == "minus_one" else IDENTITY


def describe_rewards(dataset: AnyDataset, transform: RewardTransform) -> str:
    """The transform and what it was made from, for the log."""
    returns, reward = dataset.returns(), np.asarray(dataset.reward)
    rewarded = int(np.count_nonzero(reward))
    return (
        f"rewards: reward × {transform.scale:.4g} {transform.bias:+g} (returns "
        f"{returns.min():.1f} … {returns.max():.1f}; {rewarded:,} of {len(reward):,} "
        "entries have a reward)"
    )


def _collected(config: Config, log: Log) -> str:
    made, about = config.collect, config.about
    out = (
        DATASETS / f"{made.render}-{made.episodes}x-noise{made.noise:g}-seed{made.seed}"
    )
    log(f"dataset: {made.episodes} episodes of {config.task}, rendered here to {out}")
    folder = collect(
        about.environment["task"],
        about.level,
        made.episodes,
        made.seed,
        out,
        render=made.render,
        # resized where less is asked for: drawn smaller, thin limbs would come and go
        size=max(config.data.image_size, RenderStyle.size),
        noise=made.noise or None,
    )
    return str(folder)  # not the root: other sizes of it may lie beside


def _refuse_other_kind(config: Config) -> None:
    """Refuses an own task without data, and data of the other kind."""
    path, task = config.data.path, config.task
    if not path:
        raise UserError(
            f"no dataset: give that of {task} with --data (docs/own-environment.md "
            "makes one)"
        )
    if not config.about.pixels and is_image_data(path):
        raise UserError(
            f"{path}: holds images: give a preset for them, such as --configs vd4rl"
        )
    if config.about.pixels and is_state_data(path):
        raise UserError(
            f"{path}: holds state vectors: give a preset for them, such as --configs "
            "hopper, or for the RSSM --data.observations vector"
        )


def _refuse_equal_rewards(
    config: Config, dataset: AnyDataset, path: str | Path
) -> None:
    """Refuses data in which no step is better than another, to who learns from that."""
    if not config.own.rewarded or config.data.skip_bad:
        return
    reward = np.asarray(dataset.reward)[~np.asarray(dataset.is_first)]
    ends = reward.any() and np.asarray(dataset.is_terminal).any()
    if np.ptp(reward) == 0 and not ends:
        raise UserError(
            f"{path}: every reward is {reward[0]:g}, there is nothing to learn: give "
            f"other data, an algorithm that needs none, --algorithm {unrewarded()[0]}, "
            "or go on with --data.skip_bad"
        )


def _state_file(config: Config, log: Log) -> Path:
    if config.about.suite != "pointmaze":
        suite = config.about.suite if config.about.suite != "antmaze" else "d4rl"
        file = expected_file(config.task)
        if (DATASETS / file).exists():
            return DATASETS / file
        task = f"--task {config.task}"
        commands = [f"download --suite {suite} {task} --out {DATASETS}"]
        if suite == "ogbench":
            commands.append(f"collect --suite ogbench {task} --out {DATASETS / file}")
        fetched = " or ".join(f"python -m vd4rl_loader {each}" for each in commands)
        raise UserError(
            f"no dataset: give its file with --data {file}, or fetch it with {fetched}"
        )
    made, maze = config.collect, config.about.environment["maze"]
    name = f"{config.task}-{made.steps}-noise{made.noise:g}-seed{made.seed}.hdf5"
    out = DATASETS / name
    if not out.exists():
        log(f"dataset: {made.steps:,} steps of short walks, made here: {out}")
        out.parent.mkdir(parents=True, exist_ok=True)
        collect_pointmaze(maze, made.steps, made.seed, out, made.noise)
    return out
