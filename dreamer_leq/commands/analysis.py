"""A run's analysis for its report: is the model lying, is the value?

analysis/model.json   errors of open-loop predictions, disagreement of the members
analysis/value.json   Q, λ-return and imagined return against the environment's

Both are plain JSON of numbers and lists; docs/reading-a-run.md explains them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.evaluation import calibration as calibrate
from dreamer_leq.evaluation.calibration import Calibration, calibration
from dreamer_leq.evaluation.model_error import (
    Sequences,
    disagreement,
    draw_sequences,
    open_loop_errors,
)
from dreamer_leq.evaluation.rollouts import open_environments, play
from dreamer_leq.run import build
from dreamer_leq.run.analysis_files import (
    MODEL,
    VALUE,
    is_outdated,
    last_checkpoints,
    write,
)
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.world_models.ensemble_training import units
from dreamer_leq.world_models.interface import WorldModel

Log = Callable[[str], None]

SEEN = "episodes of the dataset, spread evenly; the world model was trained on them"
UNITS = {
    "image": "of the range of a pixel",
    "state": "standard deviations of the dataset",
    "reward": "reward per step, as the algorithm sees it",
}
_SMALL = 0.05  # share of the mean return that is not worth a warning
_HIDDEN = 0.1  # share of the weight behind the time limit that is worth saying
_REPEATED = {"image": "frame", "state": "state"}


def analyse(
    folder: RunFolder, dataset: AnyDataset | None, log: Log, workers: int = 0
) -> None:
    """Write the files that a run, or each member of a grid, lacks or has of an earlier
    checkpoint.

    Without `dataset` only the values are compared. A run without a policy has no
    value.json, one without a trained critic neither, and one without a world model no
    model.json. Environments run in `workers`
    processes, as many as there are cores with 0. Raises UserError where the run has no
    world model yet, WorkerError where an environment fails.
    """
    runs = folder.runs
    models = [run for run in runs if dataset and is_outdated(run, MODEL)]
    values = [run for run in runs if has_critic(run) and is_outdated(run, VALUE)]
    wanted, imagines = folder.config.analysis, folder.config.imagines_steps
    models = models * bool(wanted.sequences and imagines)
    # with eval.episodes 0 there is no environment
    values = values * bool(wanted.episodes and folder.config.eval.episodes)
    if not models and not values:
        return
    world_model = folder.load_world_model()
    if models:
        _analyse_models(models, world_model, dataset, log)
    for run in values:
        found = _value(run, world_model, workers)
        _write(run, VALUE, found, log)


def _analyse_models(
    runs: list[RunFolder], world_model: WorldModel, dataset: AnyDataset, log: Log
) -> None:
    """The members of a grid share the world model, and so its errors."""
    config, reward = runs[0].config, runs[0].facts.rewards(dataset)
    sequences = draw_sequences(
        dataset,
        world_model.observations,
        reward,
        context=config.video.context,
        horizon=config.analysis.horizon,
        count=config.analysis.sequences,
    )
    mean_reward = float(reward[~np.asarray(dataset.is_first)].mean())
    std = _vector_std(dataset) if "vector" in world_model.observations else 1.0
    errors = open_loop_errors(world_model, sequences, std, mean_reward)
    for run in runs:
        _write(run, MODEL, _model(run, world_model, sequences, errors), log)


def _model(
    run: RunFolder,
    world_model: WorldModel,
    sequences: Sequences,
    errors: dict[str, Any],
) -> dict[str, Any]:
    agent = run.load_agent(world_model) if run.policy_phase else None
    members = disagreement(world_model, sequences, agent)
    units = {kind: UNITS[kind] for kind in errors}
    units["disagreement"] = world_model.disagreement_unit
    return {
        "context": sequences.context,
        "horizon": list(range(1, sequences.horizon + 1)),
        "episodes": len(sequences),
        "source": SEEN,
        "error": errors,
        "disagreement": members,
        "units": units,
        "sentence": model_sentence(errors, members, units),
    }


def _value(run: RunFolder, world_model: WorldModel, workers: int) -> dict[str, Any]:
    config, facts = run.config, run.facts
    c, gamma, horizon = config.analysis, config.gamma, _horizon(config)
    agent = run.load_agent(world_model)
    environments = (facts.environment, c.episodes, c.seed, workers)
    with open_environments(*environments) as env:
        played = play(agent, env, c.seed, facts.reward_transform)
    at = step, episode = calibrate.chosen(played, gamma, horizon, c.states)
    state = jax.tree.map(lambda x: x[at], played.state)
    settings = dict(horizon=horizon, gamma=gamma, lam=getattr(config.own, "lam", 1.0))
    promised = calibrate.promised(agent, state, **settings)
    whole = calibrate.real_returns(played, gamma)[at]
    ahead = calibrate.real_sums(played, gamma, horizon)[at]
    real = {"q": whole, "lambda_return": whole, "imagined_return": ahead}
    found = {n: calibration(x, real[n], episode) for n, x in promised.items()}
    hidden = float(calibrate.hidden(played, gamma)[at].mean())
    careful = _careful(config)
    imagined = found.get("imagined_return")
    sentence = value_sentence(found["q"], imagined, careful, horizon, hidden)
    return {
        "varying": config.coefficients,
        "discount": gamma,
        "horizon": horizon,
        "episodes": c.episodes,
        **{name: one.to_json() for name, one in found.items()},
        "episode": episode,
        "step": step,
        "hidden": hidden,
        "sentence": sentence,
    }


# --- runs and files


def _horizon(config: Config) -> int:
    """Steps that the values are imagined over: the algorithm's, where it imagines."""
    return getattr(config.own, "horizon", config.analysis.horizon)


def _careful(config: Config) -> str:
    """Why the algorithm's values may be meant to be low; empty where they aren't."""
    tau = config.coefficients.get("tau", 0.5)
    return f"a lower expectile (τ = {tau:g}) is meant to be careful" * (tau < 0.5)


def has_critic(run: RunFolder) -> bool:
    """Whether a phase has trained a critic."""
    phases = last_checkpoints(run).keys() - {"world_model"}
    return any("critic" in build.trained(run.config, phase) for phase in phases)


def _write(run: RunFolder, name: str, found: Mapping[str, Any], log: Log) -> None:
    write(run, name, found)
    log(f"{Path(name).stem}: {found['sentence']}")


# --- the dataset


def _vector_std(dataset: AnyDataset) -> np.ndarray:
    """[D], 1 for numbers that never change."""
    std = np.std(dataset.vector, 0, dtype=np.float64)
    return np.asarray(units(std, np.abs(dataset.vector).max(0)))


# --- in words


def model_sentence(
    errors: Mapping[str, Any], disagreement: Mapping[str, Any], units: Mapping[str, str]
) -> str:
    """Of the errors by kind and the disagreement by source of actions, as
    evaluation.model_error gives them.
    """
    kind = "state" if "state" in errors else "image"
    last, baseline = (errors[kind][name][-1] for name in ("mixture", "baseline"))
    steps = len(errors[kind]["mixture"])
    said = "better than" if last < baseline else "no better than"
    text = (
        f"{steps} steps ahead, in episodes that it was trained on, the imagined {kind} "
        f"is off by {_number(last)} "
        f"{units[kind]}, {said} repeating the last {_REPEATED[kind]} "
        f"({_number(baseline)})"
    )
    if "policy" in disagreement:
        text += f"; {_dispute(disagreement)}"
    return text + "."


def _dispute(disagreement: Mapping[str, Any]) -> str:
    policy, data = (disagreement[name][-1] for name in ("policy", "data"))
    if not data > 0:
        return "the members agree on the data's actions"
    times = policy / data
    if times > 1.25:
        far = f"{times:.1f} times as far apart on the policy's actions as on"
        return f"the members are {far} the data's"
    return "the members agree as well on the policy's actions as on the data's"


def value_sentence(
    q: Calibration,
    imagined: Calibration | None,
    careful: str,
    horizon: int,
    hidden: float,
) -> str:
    """Of the critic, why it may be low (`careful`), of `horizon` imagined steps where
    there are such, and of how much of the real return is a guess: `hidden`, the mean
    share of its weight behind the clock's end.
    """
    scale = sum(map(abs, q.real)) / len(q.real)
    text = _bias("Q", q, scale)
    if q.low > 0 and q.bias > _SMALL * scale:
        text += ": the policy believes to be better than it is"
    elif q.high < 0 and careful:
        text += f": {careful}"
    if imagined:
        scale = sum(map(abs, imagined.real)) / len(imagined.real)
        text += f". {_bias(f'What {horizon} imagined steps bring', imagined, scale)}"
    if hidden > _HIDDEN:
        share = f"{_share(hidden)} of the real returns' weight"
        text += f". {share} lies behind the time limit, where rewards are taken to go"
        text += " on as they were"
    return text + "."


def _bias(name: str, found: Calibration, scale: float) -> str:
    span = f"95 % {_number(found.low)} … {_number(found.high)}"
    if found.low == found.high:  # one episode, or all alike
        span = "no interval: its episodes don't differ"
    if found.low <= 0 <= found.high:
        return f"{name} is right on the average: bias {_number(found.bias)} ({span})"
    side = "high" if found.bias > 0 else "low"
    text = f"{name} is too {side} by {_number(abs(found.bias))} ({span})"
    if scale > 0:
        text += f", {_share(abs(found.bias) / scale)} of the mean return"
    return text


def _number(x: float) -> str:
    """Three digits, no exponent where one can do without."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e7 else f"{x:.3g}"


def _share(x: float) -> str:
    return f"{100 * x:.0f} %" if x >= 0.01 else "less than 1 %"
