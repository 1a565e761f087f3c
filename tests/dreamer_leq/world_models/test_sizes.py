"""Parameter counts and shapes of the networks at every size, none of it allocated."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest

from dreamer_leq.config import from_presets
from dreamer_leq.nn.actor_critic import ActorCritic
from dreamer_leq.world_models.latent import LatentNet, ObservationSpec
from dreamer_leq.world_models.vision import ConvDecoder, ConvEncoder

# The 12M model on 64x64x3 images and 6 actions: counted on the reference networks, with
# 7 independent priors instead of their chain and 255 logits instead of 256.
WORLD_MODEL_12M = {
    "encoder": 232_048,
    "core": 4_338_688,
    "posterior": 918_528,
    "prior": 7 * 722_432,
    "decoder": 1_283_635,
    "reward": 721_407,
    "cont": 656_129,
}
ACTOR_CRITIC_12M = {"actor": 791_052, "critic": 855_039, "value": 853_503}
SIZES = ["size1m", "size12m", "size25m", "size50m"]


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def world_model(config, actions=6):
    """Parameter counts by module, the split layers counted where they belong."""
    net = LatentNet(config.latent, ObservationSpec(64, 0, actions))
    params = jax.eval_shape(net.init, jax.random.key(0))
    rssm = {name: size(part) for name, part in params["rssm"].items()}
    return {
        "encoder": size(params["encoder"]),
        "core": rssm["action_input"] + rssm["core"],
        "posterior": rssm["token_input"] + rssm["posterior"],
        "prior": rssm["prior"],
        "decoder": size(params["decoder"]),
        "reward": size(params["reward"]),
        "cont": size(params["cont"]),
    }


def actor_critic(config, actions=6):
    nets = ActorCritic(config.actor, config.critic, actions)
    features = config.latent.deter + config.latent.stoch * config.latent.classes
    params = jax.eval_shape(lambda key: nets.init(key, features), jax.random.key(0))
    return {name: size(part) for name, part in params.items()}


def with_value(*presets):
    return from_presets(*presets, **{"actor.update": "reinforce"})


# --- the 12M model, module by module --------------------------------------------------


@pytest.mark.parametrize("presets", [(), ("vd4rl",), ("size12m",)])
def test_12m_counts_of_the_world_model(presets):
    counts = world_model(from_presets(*presets))
    assert counts == WORLD_MODEL_12M
    assert sum(counts.values()) == 13_207_459


def test_12m_counts_of_actor_critic_and_value():
    assert actor_critic(with_value()) == ACTOR_CRITIC_12M
    everything = {**WORLD_MODEL_12M, **ACTOR_CRITIC_12M}
    assert sum(everything.values()) == 15_707_053


def test_the_value_network_belongs_to_reinforce_alone():
    assert set(actor_critic(from_presets())) == {"actor", "critic"}


def test_12m_with_a_single_prior_has_one_seventh_of_the_prior_parameters():
    counts = world_model(from_presets(**{"latent.members": 1}))
    assert counts["prior"] == 722_432
    assert counts["core"] + counts["posterior"] + counts["prior"] == 5_979_648


def test_the_number_of_actions_enters_where_actions_do_and_nowhere_else():
    for actions in (1, 21):
        more = actions - 6
        counts = world_model(from_presets(), actions)
        assert counts == WORLD_MODEL_12M | {"core": 4_338_688 + 256 * more}
        counts = actor_critic(with_value(), actions)
        assert counts["actor"] == 791_052 + 2 * 257 * more
        assert counts["critic"] == 855_039 + 256 * more
        assert counts["value"] == 853_503


# --- all sizes ------------------------------------------------------------------------


def norm_linear(inputs, outputs):
    return inputs * outputs + outputs + outputs  # kernel, bias, scale of the norm


def conv(inputs, outputs):
    return 25 * inputs * outputs + outputs


def counted_by_hand(deter, units, classes, depth, actions=6, members=7):
    """The same networks from their dimensions alone."""
    stoch, tokens = 32 * classes, 16 * 4 * depth
    features, blocks = deter + stoch, 8
    channels = [3, *(depth * mult for mult in (1, 2, 3, 4, 4))]
    pairs = list(itertools.pairwise(channels))
    inputs = [norm_linear(n, units) for n in (deter, stoch, actions)]
    per_block = (deter // blocks + 3 * units) * (deter // blocks)
    stem = deter * tokens // blocks + tokens + norm_linear(stoch, 2 * units)
    stem += (2 * units + 1) * tokens + channels[-1]
    ups = [conv(n, m) + m for m, n in pairs[1:]]
    return {
        "encoder": sum(conv(n, m) + m for n, m in pairs),
        "core": sum(inputs)
        + (blocks * per_block + 2 * deter)
        + (deter * 3 * deter // blocks + 3 * deter),
        "posterior": norm_linear(deter + tokens, units) + (units + 1) * stoch,
        "prior": members
        * (norm_linear(deter, units) + norm_linear(units, units) + (units + 1) * stoch),
        "decoder": stem + sum(ups) + conv(depth, 3),
        "reward": norm_linear(features, units) + (units + 1) * 255,
        "cont": norm_linear(features, units) + units + 1,
    }


@pytest.mark.parametrize(
    "preset, dimensions",
    {
        "size1m": (512, 64, 4, 4),
        "size12m": (2048, 256, 16, 16),
        "size25m": (3072, 384, 24, 24),
        "size50m": (4096, 512, 32, 32),
    }.items(),
)
def test_every_size_has_the_counts_of_its_dimensions(preset, dimensions):
    assert world_model(from_presets(preset)) == counted_by_hand(*dimensions)


@pytest.mark.parametrize("preset", [*SIZES, "demo", "debug"])
def test_every_preset_gives_a_loss_and_a_step_of_imagination(preset):
    config = from_presets(preset)
    side = config.data.image_size
    net = LatentNet(config.latent, ObservationSpec(side, 0, 6))
    batch = {
        "image": jnp.zeros((2, 3, side, side, 3), jnp.uint8),
        "action": jnp.zeros((2, 3, 6)),
        **{k: jnp.zeros((2, 3)) for k in ("reward", "is_terminal")},
        "is_first": jnp.zeros((2, 3), bool),
    }

    def run(key):
        params = net.init(key)
        start, noise = net.rssm.initial(5), net.rssm.noise(key, 5)
        state = net.rssm.imagine_step(params["rssm"], start, jnp.zeros((5, 6)), noise)
        return net.loss(params, batch, key)[0], net.state_features(state)

    loss, features = jax.eval_shape(run, jax.random.key(0))
    assert loss.shape == () and loss.dtype == jnp.float32
    assert features.shape == (5, net.features)


# --- feature maps ---------------------------------------------------------------------


def feature_maps(module, *inputs):
    """Output shapes of a module's convolutions, without the batch axis, in order."""

    def run(key):
        keep = dict(capture_intermediates=True, mutable=["params", "intermediates"])
        return module.apply({}, *inputs, rngs={"params": key}, **keep)[1]

    layers = jax.eval_shape(run, jax.random.key(0))["intermediates"]
    names = sorted(n for n in layers if n.startswith("conv")) + ["out"] * (
        "out" in layers
    )
    return [layers[name]["__call__"][0].shape[1:] for name in names]


def test_feature_maps_of_the_encoder():
    module = ConvEncoder(16, (1, 2, 3, 4, 4), 5)
    assert feature_maps(module, jnp.zeros((1, 64, 64, 3))) == [
        (64, 64, 16),
        (32, 32, 32),
        (16, 16, 48),
        (8, 8, 64),
        (4, 4, 64),
    ]


def test_feature_maps_of_the_decoder():
    module = ConvDecoder(16, (1, 2, 3, 4, 4), 5, units=256, blocks=8)
    assert feature_maps(module, jnp.zeros((1, 2048)), jnp.zeros((1, 512))) == [
        (8, 8, 64),
        (16, 16, 48),
        (32, 32, 32),
        (64, 64, 16),
        (64, 64, 3),
    ]


def test_a_12m_state_has_2560_features_and_an_image_1024_tokens():
    net = LatentNet(from_presets().latent, ObservationSpec(64, 0, 6))
    assert (net.features, net.tokens) == (2560, 1024)
