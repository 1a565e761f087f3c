"""The fast way of an update against the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from jax import Array
from worlds import World

from dreamer_leq.algorithms.leq.ablations import reinforce_loss
from dreamer_leq.algorithms.leq.learner import LEQ, Imagined
from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic

N, ACTIONS, STATE = 8, 2, 3
MLP = {"actor.network": "mlp", "critic.network": "mlp", "critic.output": "scalar"}
BOTH = {"steps", "end", "critic"}
OUTPUTS = {"policy_outputs", "critic_outputs"}
KINDS = {
    "states": (MLP, BOTH),
    "states, one step": (MLP | {"leq.horizon": 1}, BOTH),
    "states, ten steps, H-step returns": (
        MLP | {"leq.horizon": 10, "leq.lam": float("inf")},
        BOTH,
    ),
    "states, entropy": (
        MLP | {"actor.stochastic": True, "actor.entropy": 0.1},
        {"policy_outputs", "critic"},
    ),
    "pixels": ({}, {"steps", "end", "critic_outputs"}),
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


def setup(keys, plain, dtype=jnp.float32):
    """A learner with the rate 1, its parameters, state and a batch."""
    given = {"leq.horizon": 4, "leq.plain": plain} | keys
    config = from_presets("debug", **given)
    rng, kind = np.random.default_rng(3), jnp.promote_types(dtype, jnp.float32)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), kind)  # noqa: E731
    world = Curved(draw(STATE, STATE), draw(ACTIONS, STATE))
    nets = ActorCritic(config.actor, config.critic, ACTIONS, dtype)
    learner = LEQ.create(config, "leq", world, nets).replace(optimizer=optax.sgd(1.0))
    shapes = jax.eval_shape(lambda key: nets.init(key, STATE), jax.random.key(0))
    params, slow = (jax.tree.map(lambda x: 0.4 * draw(*x.shape), shapes) for _ in "ab")
    state = learner.init(jax.random.key(0), {"tau": jnp.asarray(0.2, kind)}, params)
    state = state.replace(target={"critic": slow["critic"]})
    batch = {
        "state": draw(N, STATE),
        "next_state": draw(N, STATE),
        "action": jnp.tanh(draw(N, ACTIONS)),
        "reward": draw(N),
        "cont": jnp.ones(N, kind),
    }
    return learner, params, state, batch


def one_update(keys, plain, dtype=jnp.float32):
    """What an update makes of the parameters with the rate 1, its metrics, and the
    names of what its rollout keeps.
    """
    learner, params, state, batch = setup(keys, plain, dtype)
    rollout = jax.eval_shape(learner.imagine, state, batch["state"], jax.random.key(1))
    kept = getattr(rollout, "kept", None)
    after, metrics = jax.jit(learner.update)(state, batch, jax.random.key(1))
    moved = jax.tree.map(jnp.subtract, after.params, params)
    names = {name for name, x in vars(kept).items() if x is not None} if kept else set()
    return moved, metrics, names


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_that_of_passes_made_anew(kind):
    keys, expected_kept = KINDS[kind]
    moved, metrics, kept = one_update(keys, plain=False)
    anew, metrics_anew, nothing = one_update(keys, plain=True)
    assert kept == expected_kept and not nothing
    for name in ("actor", "critic"):
        assert optax.tree.norm(moved[name]) > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        (moved, metrics),
        (anew, metrics_anew),
    )


def test_in_bfloat16_it_is_so_up_to_rounding():
    moved, *_ = one_update({}, False, jnp.bfloat16)
    anew, *_ = one_update({}, True, jnp.bfloat16)
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
def test_it_saves_passes(keys, left):
    net = {"layers": 3, "units": 128}
    sizes = {f"{name}.{k}": v for name in ("actor", "critic") for k, v in net.items()}

    def work(plain):
        config = from_presets("debug", **keys | sizes | {"leq.plain": plain})
        world = Curved(jnp.eye(STATE), jnp.ones((ACTIONS, STATE)))
        nets = ActorCritic(config.actor, config.critic, ACTIONS)
        learner = LEQ.create(config, "leq", world, nets)
        state = learner.init(jax.random.key(0), {"tau": jnp.float32(0.2)}, {})
        given = state, jnp.ones((N, STATE)), jax.random.key(1)
        rollout = jax.eval_shape(learner.imagine, *given)

        def losses(params, rollout):
            batch, scale = Imagined({}, rollout), jnp.ones(())
            model = learner.critic_model_loss(params, state, rollout)
            if config.actor.update == "dpg":
                return model + learner.policy_loss(params, state, batch, scale)
            return model + reinforce_loss(learner, params, state, batch, scale)

        compiled = jax.jit(jax.grad(losses)).lower(state.params, rollout).compile()
        return compiled.cost_analysis()["flops"]

    assert work(plain=False) < left * work(plain=True)


@pytest.mark.parametrize("keys", [MLP, {}], ids=["states", "pixels"])
def test_gradients_are_central_differences_in_float64(keys):
    """Of the sum of the losses, targets and imagined states held: the plain way's, and
    the fast way's, at the parameters that both began with.
    """
    with jax.enable_x64(True):
        ways = [setup(keys, plain, jnp.float64) for plain in (True, False)]
        grads, losses = zip(*(gradient(*way) for way in ways), strict=True)
        _, params, *_ = ways[0]
        rng = np.random.default_rng(5)
        for name in ("actor", "critic"):
            way = jax.tree.map(lambda x: rng.normal(size=x.shape), params[name])
            moved = lambda h, name=name, way=way: losses[0](  # noqa: E731
                params | {name: jax.tree.map(lambda p, v: p + h * v, params[name], way)}
            )
            expected = float(moved(1e-6) - moved(-1e-6)) / 2e-6
            for grad in grads:
                parts = jax.tree.map(lambda g, v: (g * v).sum(), grad[name], way)
                found = float(sum(jax.tree.leaves(parts)))
                assert found == pytest.approx(expected, rel=2e-6)


def gradient(learner, params, state, batch):
    """The losses' gradient at `params`, and their sum as a function of parameters."""
    key = jax.random.key(1)
    state, imagined = jax.jit(learner.prepare)(state, batch, key)

    @jax.jit
    def total(params):
        return sum(learner.losses(params, state, imagined, key)[0].values())

    return jax.grad(total)(params), total
