"""An update from what earlier passes left, against one that makes them anew."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax import Array
from worlds import World

from dreamer_leq.algorithms.leq import learner as learning
from dreamer_leq.algorithms.leq.fast import NOTHING
from dreamer_leq.algorithms.leq.learner import LEQ
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic

pytestmark = pytest.mark.usefixtures("quick_compilation")

N, ACTIONS, STATE = 8, 2, 3
MLP = {"actor.network": "mlp", "critic.network": "mlp", "critic.output": "scalar"}
BOTH = {"steps", "end", "critic"}
OUTPUTS = {"policy_outputs", "critic_outputs"}
KINDS = {
    "states": (MLP, BOTH),
    "states, H-step returns": (MLP | {"leq.lam": float("inf")}, BOTH),
    "states, one step": (MLP | {"leq.horizon": 1}, BOTH),
    "states, cloning": (MLP | {"actor.bc_weight": 0.4}, BOTH),
    "states, not conservative": (MLP | {"actor.conservative": False}, BOTH),
    "states, stochastic": (
        MLP | {"actor.stochastic": True},
        {"policy_outputs", "critic"},
    ),
    "pixels": ({}, {"steps", "end", "critic_outputs"}),
    "pixels, stochastic": ({"actor.stochastic": True}, OUTPUTS),
    "pixels, REINFORCE": ({"actor.update": "reinforce"}, OUTPUTS),
}


@struct.dataclass
class Curved(World):
    """s' = tanh(A s + B a); ends for good in a part of the space."""

    mix: Array
    push: Array

    def step(self, state, action, key):
        s = jnp.tanh(state @ self.mix + action @ self.push)
        return s, 5 * jnp.sin(3 * s).sum(-1), (s[:, 1] < 0.6).astype(s.dtype)


def one_update(keys, dtype=jnp.float32):
    """What an update makes of the parameters with the rate 1, and its metrics."""
    config = from_presets("debug", **{"leq.horizon": 4, "leq.tau": [0.2]} | keys)
    rng = np.random.default_rng(3)
    draw = lambda *shape: jnp.float32(rng.normal(size=shape))  # noqa: E731
    world = Curved(draw(STATE, STATE), draw(ACTIONS, STATE))
    nets = ActorCritic(config.actor, config.critic, ACTIONS, dtype)
    learner = LEQ(world, nets, optax.sgd(1.0), config)
    shapes = jax.eval_shape(lambda key: nets.init(key, STATE), jax.random.key(0))
    params, slow = (jax.tree.map(lambda x: 0.4 * draw(*x.shape), shapes) for _ in "ab")
    state = learner.init(params).replace(target_critic=slow["critic"])
    batch = {
        "state": draw(N, STATE),
        "next_state": draw(N, STATE),
        "action": jnp.tanh(draw(N, ACTIONS)),
        "reward": draw(N),
        "cont": jnp.ones(N),
    }
    kept = learner.imagine(state, batch["state"], jax.random.key(1))[-1]
    after, metrics = jax.jit(learner.update)(state, batch, jax.random.key(1))
    moved = jax.tree.map(jnp.subtract, after.params, params)
    return moved, metrics, {name for name, x in vars(kept).items() if x is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_that_of_passes_made_anew(kind, monkeypatch):
    keys, expected_kept = KINDS[kind]
    moved, metrics, kept = one_update(keys)
    monkeypatch.setattr(learning, "recordings", lambda *_: NOTHING)
    anew, metrics_anew, nothing = one_update(keys)
    assert kept == expected_kept and not nothing
    for name in ("actor", "critic"):
        assert optax.tree.norm(moved[name]) > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (moved, metrics),
        (anew, metrics_anew),
    )


@pytest.mark.parametrize("keys", [MLP, {}], ids=["states", "pixels"])
def test_in_bfloat16_it_is_so_up_to_rounding(keys, monkeypatch):
    moved, *_ = one_update(keys, jnp.bfloat16)
    monkeypatch.setattr(learning, "recordings", lambda *_: NOTHING)
    anew, *_ = one_update(keys, jnp.bfloat16)
    for name in ("actor", "critic"):
        apart = jax.tree.map(jnp.subtract, moved[name], anew[name])
        assert optax.tree.norm(apart) < 0.03 * optax.tree.norm(anew[name])


@pytest.mark.parametrize(
    "keys, left",
    [
        (MLP, 0.65),  # of seven passes forward or back through a network three are made
        ({"actor.update": "reinforce"}, 0.85),  # of ten, value and slow critic's too, 8
    ],
    ids=["states", "pixels, REINFORCE"],
)
def test_it_saves_passes(keys, left, monkeypatch):
    net = {"layers": 3, "units": 128}
    sizes = {f"{name}.{k}": v for name in ("actor", "critic") for k, v in net.items()}

    def work():
        config = from_presets("debug", **keys | sizes)
        world = Curved(jnp.eye(STATE), jnp.ones((ACTIONS, STATE)))
        nets = ActorCritic(config.actor, config.critic, ACTIONS)
        learner = LEQ(world, nets, optax.sgd(1.0), config)
        state = learner.init(nets.init(jax.random.key(0), STATE))
        kept = learner.imagine(state, jnp.ones((N, STATE)), jax.random.key(1))

        def losses(params, kept):
            _, rollout, recordings = kept
            model, _ = learner.critic_model_loss(params, state, rollout, recordings)
            scale = jnp.ones(())
            if config.actor.update == "dpg":
                args = (params, state, rollout, kept[0], scale, recordings)
                return model + learner.expectile_policy_loss(*args)
            args = (params, state, rollout, scale, recordings)
            return model + learner.reinforce_loss(*args)

        compiled = jax.jit(jax.grad(losses)).lower(state.params, kept).compile()
        return compiled.cost_analysis()["flops"]

    kept = work()
    monkeypatch.setattr(learning, "recordings", lambda *_: NOTHING)
    assert kept < left * work()
