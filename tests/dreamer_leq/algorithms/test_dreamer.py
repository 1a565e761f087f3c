"""Offline DreamerV2: gradients through the model, returns, penalty, copies of V."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from learners import assert_slope, is_zero, make_state
from worlds import World

from dreamer_leq.algorithms.dreamer import Dreamer
from dreamer_leq.algorithms.returns import discounted_return
from dreamer_leq.config import from_presets
from dreamer_leq.world_models.imagine import imagine
from dreamer_leq.world_models.latent import LatentWorldModel

A, N, H = 2, 5, 3
KEY = jax.random.key(1)
TINY = {
    **{"algorithm": "dreamer", "dreamer.horizon": H, "dreamer.entropy": 0.0},
    **{"actor.network": "mlp", "actor.layers": 1, "actor.units": 3},
    **{"critic.network": "mlp", "critic.layers": 1, "critic.units": 3},
    **{"critic.output": "scalar", "dreamer.gamma": 0.9, "dreamer.copy_every": 2},
}


@struct.dataclass
class Curved(World):
    """A world without ends; rewards and spread are functions of the next state."""

    weights: jnp.ndarray  # [5, 3]

    @staticmethod
    def spread(state):
        return jnp.square(state).sum(-1)

    def step(self, state, action, noise):
        after = jnp.tanh(jnp.concatenate([state, action], -1) @ self.weights)
        after = after + 0.1 * jax.random.normal(noise, after.shape, after.dtype)
        return after, jnp.sin(3 * after).sum(-1), jnp.ones(len(after), after.dtype)


def make_learner(dtype=np.float32):
    config = from_presets("demo", "debug", **TINY)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), dtype)
    nets = Dreamer.nets_of(config, "dreamer", A, dtype)
    return Dreamer.create(config, "dreamer", Curved(weights), nets)


def make_batch(dtype=np.float32):
    rng = np.random.default_rng(2)
    state = jnp.asarray(rng.normal(size=(N, 3)), dtype)
    unused = {"action": jnp.zeros((N, A), dtype)}
    return {"state": state} | unused | dict.fromkeys(("reward", "cont"), jnp.zeros(N))


@pytest.fixture(scope="module")
def exact():
    """Losses and their gradients by all networks, in float64."""
    with jax.enable_x64(True):
        learner = make_learner(np.float64)
        state = make_state(learner, np.float64, penalty=0.3)
        batch = make_batch(np.float64)

        def losses(params, state, batch):
            return learner.losses(params, state, batch, KEY)[0]

        given = state.params, state, batch
        slopes = jax.device_get(jax.jit(jax.jacrev(losses))(*given))
        return jax.jit(losses), given, slopes


class Blindfolded(Dreamer):
    """Whose actions depend on what one and the same policy has seen."""

    def imagine(self, actor, batch, key):
        seen = super().imagine(make_state(self, np.float64).params["actor"], batch, key)
        keys = [jax.random.split(each)[0] for each in jax.random.split(key, H)]
        sample = partial(self.nets.policy.sample, actor)
        each = zip(seen.features[:-1], keys, strict=True)
        action = jnp.stack([sample(*given)[0] for given in each])
        return imagine(self.world, action, batch["state"], key, H)


def test_the_policy_follows_the_returns_through_the_model(exact):
    """And not through what it sees: what it does there later is no lever."""
    _, (params, state, batch), slopes = exact
    with jax.enable_x64(True):
        learner = make_learner(np.float64)
        fields = {x.name: getattr(learner, x.name) for x in dataclasses.fields(learner)}
        losses = jax.jit(
            lambda p: Blindfolded(**fields).losses(p, state, batch, KEY)[0]
        )

        def loss(actor):
            return float(losses(params | {"actor": actor})["actor"])

        assert_slope(slopes["actor"]["actor"], loss, params["actor"], rtol=1e-5)
    assert is_zero(slopes["actor"]["critic"]) and is_zero(slopes["critic"]["actor"])
    assert not is_zero(slopes["critic"]["critic"])


def test_the_penalty_lowers_what_is_imagined(exact):
    """By its weight times what the spread is worth, discounted, in the mean."""
    losses, (params, state, batch), _ = exact
    with jax.enable_x64(True):
        none, some, more = (
            losses(params, state.replace(hyper={"penalty": jnp.float64(c)}), batch)
            for c in (0.0, 0.5, 1.0)
        )
    lowered = some["actor"] - none["actor"]
    assert lowered > 0
    assert more["actor"] - none["actor"] == pytest.approx(2 * lowered)


def test_an_update_copies_the_critic_only_when_it_is_due():
    learner, batch = make_learner(), make_batch()
    state = learner.init(KEY, {"penalty": jnp.float32(0)}, {})
    first = state.target["critic"]
    update = jax.jit(learner.update)
    one, _ = update(state, batch, KEY)
    jax.tree.map(np.testing.assert_array_equal, one.target["critic"], first)
    two, _ = update(one, batch, KEY)
    copied = two.target["critic"], two.params["critic"]
    jax.tree.map(np.testing.assert_array_equal, *copied)
    assert not is_zero(jax.tree.map(jnp.subtract, copied[0], first))
    value = learner.value(two.params, batch["state"], batch["action"])
    np.testing.assert_array_equal(
        value, learner.value(two.params, batch["state"], None)
    )


def test_returns_are_a_mixture_of_all_lengths():
    rng, gamma, lam = np.random.default_rng(0), 0.9, 0.8
    reward, cont = rng.normal(size=H), rng.uniform(size=H)
    value = rng.normal(size=H + 1)

    def longest(t, n):
        """n rewards from step t on, then V."""
        if n == 0:
            return value[t]
        return reward[t] + gamma * cont[t] * longest(t + 1, n - 1)

    found = discounted_return(*map(jnp.float32, (reward, cont, value)), gamma, lam)
    for t in range(H):
        each = [longest(t, n) for n in range(1, H - t + 1)]
        share = [(1 - lam) * lam**i for i in range(H - t - 1)] + [lam ** (H - t - 1)]
        assert found[t] == pytest.approx(np.dot(share, each), rel=1e-5)
    ones = jnp.ones((H, 1))
    settled = discounted_return(ones, ones, jnp.full((H + 1, 1), 10.0), 0.9, lam)
    np.testing.assert_allclose(settled, 10, rtol=1e-6)


@pytest.mark.parametrize(("members", "different"), [(3, True), (3, False), (1, True)])
def test_the_spread_of_certain_members(members, different):
    """√(S (1 - 1/E)) where each is certain of another class, 0 where all agree."""
    latents = 5
    classes = np.arange(members)[:, None] * different + np.zeros((1, latents), int)
    probs = np.eye(3)[classes][:, None]  # [E, 1, S, C]
    with np.errstate(divide="ignore"):
        rssm = SimpleNamespace(priors=lambda params, deter: jnp.log(probs) + deter)
    world = LatentWorldModel({"rssm": None}, SimpleNamespace(rssm=rssm))
    spread = lambda x: world.spread(SimpleNamespace(deter=x)).sum()  # noqa: E731
    value, slope = jax.value_and_grad(spread)(0.0)
    expected = np.sqrt(latents * (1 - 1 / members)) * different
    assert value == pytest.approx(expected, rel=1e-6) and np.isfinite(slope)
