"""Rows that a world model imagined beside the dataset's, in every batch (MBPO,
arXiv 1906.08253): short rollouts of the policy from the data's states fill a ring.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from dreamer_leq.algorithms.learner import Batch, Learner, Losses, Metrics, TrainState
from dreamer_leq.algorithms.replay import Ring
from dreamer_leq.nn.actor_critic import Params
from dreamer_leq.world_models.imagine import Trajectory, imagine
from dreamer_leq.world_models.interface import State, WorldModel


@struct.dataclass
class Mixture(Learner):
    """A learner of transitions whose batches hold the dataset's first, and then
    imagined ones. Goes before an algorithm: `class MOPO(Mixture, SAC)`.

    Its section has `real_share` and `rollouts`; memory["rows"] is the ring.
    """

    refreshed = "rollouts"

    def real(self, rows: int) -> int:
        """How many of a batch's rows are the dataset's: the first ones."""
        return max(1, int(rows * self.config.real_share))

    @property
    def refresh_every(self) -> int:
        return self.config.rollouts.interval if self.config.real_share < 1 else 0

    @property
    def refresh_rows(self) -> int:
        return self.config.rollouts.starts

    def remember(self) -> dict[str, Any]:
        c, start = self.config.rollouts, self.world.initial(1)
        numbers = jnp.zeros(1)
        action = jnp.zeros((1, self.nets.action_size))
        row = self._row(start, action, numbers, start, numbers)
        return {"rows": Ring.empty(row, c.retain * c.horizon * c.starts)}

    def prepare(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Batch]:
        rows = len(batch["action"])
        if (real := self.real(rows)) == rows:
            return state, batch
        # the losses split this key in three, which are fold_in's 0 to 2
        key = jax.random.fold_in(key, 3)
        imagined = state.memory["rows"].sample(key, rows - real)
        joined = {
            name: jnp.concatenate([batch[name][:real], x])
            for name, x in imagined.items()
        }
        return state, joined

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        found, metrics = super().losses(params, state, batch, key)
        reward = batch["reward"]
        if (real := self.real(len(reward))) < len(reward):
            metrics["imagined_reward"] = reward[real:].mean()
        return found, metrics

    def refresh(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """Add rollouts from the batch's states to the ring."""
        start, horizon = self.world.starts(batch), self.config.rollouts.horizon
        roll_key, end_key = jax.random.split(key)
        policy = lambda f, key: self.explore(state, f, key)  # noqa: E731
        path = imagine(self.model(state), policy, start, roll_key, horizon)
        rows, reached = self.rows(state, path, end_key)
        ring = state.memory["rows"].insert(rows, reached)
        return state.replace(memory=state.memory | {"rows": ring}), {}

    def rows(
        self, state: TrainState, path: Trajectory, key: Array
    ) -> tuple[Batch, Array]:
        """The H·N transitions of a trajectory, and whether each was reached: what
        comes after an end was not.
        """
        flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        before, after = (
            jax.tree.map(lambda x, part=part: flat(x[part]), path.state)
            for part in (slice(None, -1), slice(1, None))
        )
        action, reward, cont = map(flat, (path.action, path.reward, path.cont))
        reward = self.imagined_reward(state, before, action, reward)
        on = jax.random.uniform(key, path.cont.shape) < path.cont
        reached = jnp.concatenate([jnp.ones_like(on[:1]), jnp.cumprod(on[:-1], 0) > 0])
        return self._row(before, action, reward, after, cont), flat(reached)

    def model(self, state: TrainState) -> WorldModel:
        """The world model that imagines."""
        return self.world

    def explore(self, state: TrainState, features: Array, key: Array) -> Array:
        """The actions of imagined rollouts, a sample of the policy: [N, A]."""
        return self.nets.policy.sample(state.params["actor"], features, key)[0]

    def imagined_reward(
        self, state: TrainState, start: State, action: Array, reward: Array
    ) -> Array:
        """The rewards that imagined rows are given, from the model's: [N]."""
        return reward

    def _row(
        self, start: State, action: Array, reward: Array, after: State, cont: Array
    ) -> Batch:
        """Transitions as a batch of the dataset has them."""
        named = {f"next_{k}": x for k, x in self.world.pack(after).items()}
        numbers = {"action": action, "reward": reward, "cont": cont}
        return self.world.pack(start) | named | numbers
