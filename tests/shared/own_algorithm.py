"""An algorithm as somebody adds one: one learner, one section, no other file."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import struct

from dreamer_leq.algorithms.learner import Learner
from dreamer_leq.algorithms.losses import bellman_target
from dreamer_leq.config import Optimizer, Section
from dreamer_leq.config.values import Discount, Weight, several


@struct.dataclass
class Mine(Learner):
    """SARSA for the critic, Q less a pull to the data for the policy (as TD3+BC)."""

    averaged = ("critic",)
    reads = ("next_action",)

    def losses(self, params, state, batch, key):
        now = self.world.features(self.world.starts(batch))
        then = self.world.features(self.world.successors(batch))
        q_then = self.value(
            {"critic": state.target["critic"]}, then, batch["next_action"]
        )
        target = bellman_target(batch["reward"], batch["cont"], q_then, self.gamma)
        q = self.value(params, now, batch["action"])
        action = self.policy(params, now)
        worth = self.value(state.params, now, action)
        pull = jnp.square(action - batch["action"]).sum(-1)
        actor = (state.hyper["pull"] * pull - worth).mean()
        return {"critic": jnp.square(q - target).mean(), "actor": actor}, {
            "q": q.mean()
        }


ADAM = Optimizer("adam", 1e-3, 0, "constant", 0.0, 0.9, 0.999, 1e-8)


@dataclass(frozen=True)
class MineSection(Section):
    learner = "own_algorithm:Mine"
    title = "Mine"
    after = ("bc",)
    varies = ("pull",)

    updates: int = 20
    batch: int = 16
    gamma: Discount = 0.9
    pull: several(Weight) = 1.0
    optimizer: Optimizer = ADAM
