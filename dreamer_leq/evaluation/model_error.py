"""A world model's errors by imagined step, and how far its members disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dreamer_leq.evaluation.agent import Agent
from dreamer_leq.evaluation.statistics import bootstrap_interval
from dreamer_leq.system.errors import UserError
from dreamer_leq.world_models.imagine import Trajectory, imagine
from dreamer_leq.world_models.interface import State, WorldModel

Errors = dict[str, Any]  # by kind: image, state, reward
LARGEST = 1e6  # what an error that overflows is reported as: JSON has no infinity
_KINDS = {"image": "image", "vector": "state"}  # what an error of the observation is


# --- what is to be predicted


@dataclass(frozen=True)
class Sequences:
    """B sequences of context + H entries, each of another episode.

    Attributes:
      arrays: observations, action, reward and is_first, [B, context + H, ...] in
        arrival order; is_first at the first entry of each.
      context: entries that the world model sees before it goes on alone.
    """

    arrays: dict[str, np.ndarray]
    context: int

    def __len__(self) -> int:
        return len(self.arrays["action"])

    @property
    def horizon(self) -> int:
        return self.arrays["action"].shape[1] - self.context


def draw_sequences(
    dataset: Any,
    observations: Sequence[str],
    reward: np.ndarray,
    *,
    context: int,
    horizon: int,
    count: int,
) -> Sequences:
    """One sequence, anywhere in its episode, of each of `count` episodes.

    They are spread evenly over the dataset, since files are often sorted by the policy
    that made them. Episodes that are too short are passed over; where fewer than two
    are long enough, H is smaller.

    Args:
      dataset: with offsets [E + 1] and arrays [N, ...], as the loader opens it.
      observations: names of the arrays that the world model reads.
      reward: [N], as the world model predicts it.

    Raises:
      UserError: no episode has more than `context` entries.
    """
    offsets = np.asarray(dataset.offsets)
    lengths = np.diff(offsets)
    length = min(context + horizon, np.sort(lengths)[-2:][0])
    if length <= context:
        raise UserError(
            f"video.context: {context} entries of context, but the dataset's episodes "
            f"have {lengths.max()} at most"
        )
    fitting = np.flatnonzero(lengths >= length)
    picks = np.linspace(0, len(fitting) - 1, min(count, len(fitting))).astype(int)
    episodes = fitting[picks]
    slack = lengths[episodes] - length
    first = offsets[episodes] + np.random.default_rng(0).integers(slack + 1)
    rows = first[:, None] + np.arange(length)
    arrays = {name: getattr(dataset, name)[rows] for name in (*observations, "action")}
    arrays["reward"] = reward[rows]
    arrays["is_first"] = np.broadcast_to(np.arange(length) == 0, rows.shape)
    return Sequences(arrays, context)


# --- errors and disagreement


def open_loop_errors(
    world_model: WorldModel,
    sequences: Sequences,
    vector_std: np.ndarray | float,
    mean_reward: float,
) -> dict[str, dict[str, Any]]:
    """Absolute errors of predictions from the recorded actions alone, by kind.

    The world model sees `sequences.context` entries, then imagines H steps. `image` is
    the mean over pixels and colours in [0, 1]; `state` the mean over the D numbers of
    the vector, each divided by its `vector_std` [D]; `reward` is in the reward's unit.
    Members and mixture sample their predictions as in training, so that even a perfect
    model of a random world errs.

    Returns:
      For each kind `mixture` [H], with a member drawn per sample and step as in
      training, and its 95 % interval over episodes `low`, `high` [H]; `members`
      [E, H], each alone all the way; `baseline` [H] of repeating the last entry that
      was seen, or of the reward `mean_reward`.
    """
    arrays, c = sequences.arrays, sequences.context
    std = jnp.asarray(vector_std)
    found = _open_loop(world_model, arrays, std, c, jax.random.key(0))
    mixture, members = _bounded(found)
    last = {name: x[:, c - 1 : c] for name, x in arrays.items()}
    last["reward"] = np.full_like(last["reward"], mean_reward)
    future = {name: x[:, c:] for name, x in arrays.items()}
    baseline = _bounded(_differences(last, future, np.asarray(std)))
    return {
        kind: {
            "mixture": mixture[kind].mean(0),
            "members": members[kind].mean(1),
            "baseline": baseline[kind].mean(0),
            **_interval(mixture[kind]),
        }
        for kind in mixture
    }


def disagreement(
    world_model: WorldModel,
    sequences: Sequences,
    agent: Agent | None = None,
) -> dict[str, np.ndarray]:
    """How far the members' predictions lie apart along imagined rollouts [H], in the
    world model's `disagreement_unit`, by where the actions come from.

    All rollouts start where the context ends. `data` are the recorded actions, `random`
    uniform ones, `policy` the agent's, where there is one. Entry h compares what the
    members predict for step h from the state that the mixture has imagined until then.
    A rollout that has ended keeps the last value that it had.
    """
    key = jax.random.key(1)
    return _bounded(
        _disagreement(world_model, agent, sequences.arrays, sequences.context, key)
    )


# --- one program each


@partial(jax.jit, static_argnums=3)
def _open_loop(
    world_model: WorldModel,
    arrays: dict[str, Array],
    std: Array,
    context: int,
    key: Array,
) -> tuple[Errors, Errors]:
    """Errors [B, H] of the mixture, and [E, B, H] of the members."""
    seen_key, mixture_key, member_key = jax.random.split(key, 3)
    start = _filter(world_model, arrays, context, seen_key)
    action = arrays["action"][:, context:].swapaxes(0, 1)
    future = {name: x[:, context:].swapaxes(0, 1) for name, x in arrays.items()}

    def errors(member: Array | None, key: Array) -> Errors:
        path = imagine(world_model, action, start, key, len(action), member=member)
        states = jax.tree.map(lambda x: x[1:], path.state)

        def one(xs: tuple[State, Array, dict[str, Array]]) -> Errors:
            state, reward, target = xs  # decoded step by step: images are large
            seen = world_model.decode(state) | {"reward": reward}
            return _differences(seen, target, std)

        found = jax.lax.map(one, (states, path.reward, future))
        return jax.tree.map(lambda x: x.T, found)

    members = jnp.arange(world_model.members)
    each = jax.lax.map(lambda member: errors(member, member_key), members)
    return errors(None, mixture_key), each


@partial(jax.jit, static_argnums=3)
def _disagreement(
    world_model: WorldModel,
    agent: Agent | None,
    arrays: dict[str, Array],
    context: int,
    key: Array,
) -> dict[str, Array]:
    seen_key, random_key, given_key, policy_key = jax.random.split(key, 4)
    start = _filter(world_model, arrays, context, seen_key)
    data = arrays["action"][:, context:].swapaxes(0, 1)
    random = jax.random.uniform(random_key, data.shape, minval=-1.0)
    h, b, _ = data.shape
    both = jax.tree.map(lambda x: jnp.concatenate([x, x]), start)
    action = jnp.concatenate([data, random], 1)  # side by side: one program less
    path = imagine(world_model, action, both, given_key, h)
    values = _along(world_model, path)
    found = {"data": values[:, :b].mean(1), "random": values[:, b:].mean(1)}
    if agent is not None:
        path = imagine(world_model, agent.policy, start, policy_key, h)
        found["policy"] = _along(world_model, path).mean(1)
    return found


def _along(world_model: WorldModel, path: Trajectory) -> Array:
    """The disagreement at each of the steps: [H, N]."""
    before = jax.tree.map(lambda x: x[:-1], path.state)
    values = jax.lax.map(
        lambda xs: world_model.disagreement(*xs), (before, path.action)
    )

    def keep(carry: tuple[Array, Array], xs: tuple[Array, Array]):
        last, alive = carry
        value, cont = xs
        value = jnp.where(alive > 0, alive * value + (1 - alive) * last, last)
        return (value, alive * cont), value

    first = values[0], jnp.ones_like(path.cont[0])
    return jax.lax.scan(keep, first, (values, path.cont))[1]


def _filter(
    world_model: WorldModel, arrays: dict[str, Array], context: int, key: Array
) -> State:
    """The states [B] after `context` entries, filtered as an agent's are."""
    names = (*world_model.observations, "action", "is_first")
    seen = {name: arrays[name][:, :context].swapaxes(0, 1) for name in names}

    def step(state: State, xs: tuple[dict[str, Array], Array]) -> tuple[State, None]:
        return world_model.filter(state, *xs), None

    initial = world_model.initial(arrays["action"].shape[0])
    return jax.lax.scan(step, initial, (seen, jax.random.split(key, context)))[0]


# --- numbers


def _differences(seen: dict[str, Any], target: dict[str, Any], std: Any) -> Errors:
    """Mean absolute differences by kind: [..., 3 or 1 axes of observation] -> [...]."""
    found = {"reward": abs(seen["reward"] - target["reward"])}
    for name in _KINDS.keys() & seen.keys():
        found[_KINDS[name]] = _DISTANCES[name](seen[name], target[name], std)
    return found


def _pixels_apart(a: Any, b: Any, std: Any) -> Any:
    del std
    return abs(a.astype(np.int16) - b).mean((-3, -2, -1)) / 255


def _vectors_apart(a: Any, b: Any, std: Any) -> Any:
    return (abs(a - b) / std).mean(-1)


_DISTANCES = {"image": _pixels_apart, "vector": _vectors_apart}


def _bounded(tree: Any) -> Any:
    """NumPy arrays of a tree of arrays that are 0 or more."""

    def bounded(x: Array) -> np.ndarray:
        x = np.asarray(x, np.float64)
        return np.nan_to_num(x, nan=LARGEST, posinf=LARGEST).clip(max=LARGEST)

    return jax.tree.map(bounded, tree)


def _interval(errors: np.ndarray) -> dict[str, np.ndarray]:
    """95 % interval of the mean over B, by step: errors [B, H]."""
    bounds = np.array([bootstrap_interval(column) for column in errors.T])
    return {"low": bounds[:, 0], "high": bounds[:, 1]}
