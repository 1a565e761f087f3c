"""Estimates of policies by the dataset alone: to choose among runs, such as those of a
grid of τ, without the environment (evaluation/offline.py).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from dreamer_leq.data.latents import LatentData
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.data.transitions import TransitionData
from dreamer_leq.evaluation.offline import (
    BATCH,
    Split,
    divide,
    held_out_episodes,
    offline_estimate,
)
from dreamer_leq.run import build
from dreamer_leq.run.analysis_files import OFFLINE, write
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.run.kinds import kind_of
from dreamer_leq.system.errors import UserError
from dreamer_leq.world_models.interface import WorldModel

Log = Callable[[str], None]


def write_offline(
    folder: RunFolder, dataset: AnyDataset, log: Log
) -> list[dict[str, Any]]:
    """Estimate a run, or each of a grid's members, on its dataset into its
    analysis/offline.json; returns what is written.

    Raises UserError where there is no policy.
    """
    runs, world_model = folder.runs, folder.load_world_model()
    agents = [run.load_agent(world_model) for run in runs]
    data, split = open_split(folder, world_model, dataset, log)
    found = []
    for run, agent in zip(runs, agents, strict=True):
        nets = build.plain_networks(run.config, run.facts.action_size)
        estimate = offline_estimate(split, agent, nets, run.config.gamma)
        estimate = {"varying": run.config.coefficients, **estimate}
        estimate["sentence"] = sentence(estimate)
        write(run, OFFLINE, estimate)
        log(estimate["sentence"])
        found.append(estimate)
    data.finish()
    return found


def open_split(
    folder: RunFolder, world_model: WorldModel, dataset: AnyDataset, log: Log
) -> tuple[TransitionData, Split]:
    """A run's dataset, and its transitions by fitted and held-out episodes. Of several
    samples of an entry's latents one counts: the others are not further episodes.

    Raises UserError where its latents don't fit into memory or it is one episode.
    """
    config, facts = folder.config, folder.facts
    config = replace(config, encoding=replace(config.encoding, samples=1))
    first, reward = np.asarray(dataset.is_first), facts.rewards(dataset)
    data = kind_of(config).transitions(world_model, config, dataset, reward, log)
    if isinstance(data, LatentData) and not data.fits:
        raise UserError("the latents of the dataset don't fit into memory")
    held = held_out_episodes(int(first.sum()))
    return data, divide(data.source(BATCH, ("return",)), first, held)


def sentence(found: dict[str, Any]) -> str:
    """What the estimate says; of data's returns, what was received and what is assumed
    behind where their episodes were cut off.
    """
    fqe, bias = found["fqe"], found["calibration"]["bias"]
    received = found["data_received"]
    assumed = found["data_return"] - received
    where = f"from where {found['episodes']:,} held-out episodes begin"
    if fqe["converged"]:
        alike = fqe["low"] == fqe["high"]  # one episode, or none differs
        span = f"{fqe['low']:.1f} … {fqe['high']:.1f}" if not alike else "no interval"
        text = (
            f"By the data alone the policy is worth {fqe['value']:.1f} ({span}) "
            f"{where}, give or take "
            f"{abs(fqe['residual']):.1f} by which that fit misses their rewards; they"
        )
    else:
        text = (
            "What the policy is worth is not known by the data alone: fitted Q "
            f"evaluation has not converged. {where[0].upper()}{where[1:]} it says "
            f"{fqe['value']:.1f}, and would still move by about {fqe['drift']:+.1f}. "
            "These episodes"
        )
    text += f" received {received:.1f}"
    if abs(assumed) >= 0.05:
        text += f", and {assumed:+.1f} is assumed behind where they were cut off"
    side = "above" if bias > 0 else "below"
    return (
        f"{text}. Its own critic says {found['critic']:.1f}, and on these episodes is "
        f"{abs(bias):.1f} {side} what their rewards bear out."
    )
