"""World model, LEQ and an own encoder from pixels, on random numbers of the right
shapes.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from case import GRID, GRIDS, Case, Setup, made_up, side_by_side

from dreamer_leq.config import Config
from dreamer_leq.data.frames import Shifted, StackedTransitions
from dreamer_leq.data.sampling import Transitions, Windows
from dreamer_leq.run import build
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.latent import LatentWorldModel, ObservationSpec
from dreamer_leq.world_models.latent_training import WorldModelTraining

ACTIONS = 6  # as walker and cheetah
IMAGINING = ("dreamer", "mopo", "lompo", "rosmo")  # beside LEQ
FRAMES, SMALL_FRAMES = 100_000, 2000  # V-D4RL's levels have 100k
PLACEMENTS = {
    "resident": ("--data.placement", "device"),
    "streamed": ("--data.placement", "host"),
}
REMAT = {"stored": ("--latent.no_remat",), "recomputed": ("--latent.remat",)}


def world_model(config: Config, frames: int) -> Setup:
    """Pretraining on windows of a dataset of `frames` frames."""
    c, side = config.latent, config.data.image_size
    net = build.latent_net(config, ObservationSpec(side, 0, ACTIONS))
    phase = WorldModelTraining(net, build.optimizer(c.optimizer, c.updates))

    def make():
        shape = (SMALL_FRAMES, side, side, 3)
        block = jax.random.bits(jax.random.key(1), shape, "uint8")
        arrays = _transitions(frames) | {"image": _repeated(block, frames)}
        return phase, phase.init(jax.random.key(0)), arrays

    size = f"{c.batch} x {c.length} of {frames:,} frames"
    return Setup(make, Windows(frames, c.batch, c.length), size, net.dtype.name)


def latents(config: Config, frames: int) -> Setup:
    """The algorithm that the flags name, from the latents of `frames` frames, against
    an untrained world model; what it does more rarely than an update is left out.
    """
    c, name = config.latent, config.algorithm
    spec = ObservationSpec(config.data.image_size, 0, ACTIONS)
    net = build.latent_net(config, spec)

    def make():
        keys = jax.random.split(jax.random.key(0), 4)
        model = LatentWorldModel(net.init(keys[0]), net)
        learner = build.learner(config, name, model, ACTIONS)
        deter = jnp.tanh(jax.random.normal(keys[1], (SMALL_FRAMES, c.deter)))
        stoch = jax.random.randint(keys[2], (SMALL_FRAMES, c.stoch), 0, c.classes)
        arrays = _transitions(frames) | {
            "deter": _repeated(deter, frames),
            "stoch": _repeated(stoch.astype(jnp.uint8), frames),
            "transition": jnp.arange(frames - phase.steps),
        }
        arrays |= made_up(arrays, learner.reads)
        hyper = {key: jnp.float32(v[0]) for key, v in config.varying.items()}
        return learner, learner.init(keys[3], hyper, {}), arrays

    model = jax.eval_shape(lambda: LatentWorldModel(net.init(jax.random.key(0)), net))
    phase, section = build.learner(config, name, model, ACTIONS), getattr(config, name)
    horizon = f", H={section.horizon}" if hasattr(section, "horizon") else ""
    size = f"{section.batch} starts{horizon}, {frames:,} frames"
    states = ("deter", "stoch")
    settings = (frames - phase.steps, section.batch, states, phase.steps, config.gamma)
    setup = Setup(make, Transitions(*settings), size, net.dtype.name)
    return side_by_side(setup, len(config.members)) if config.members else setup


def own_encoder(config: Config, frames: int) -> Setup:
    """The algorithm that the flags name, on stacked frames through its own encoder."""
    side, name = config.data.image_size, config.algorithm
    net = build.frame_net(config, ObservationSpec(side, 0, ACTIONS))
    learner = build.learner(config, name, Frames(None, net), ACTIONS)
    batch, steps = getattr(config, name).batch, learner.steps

    def make():
        keys = jax.random.split(jax.random.key(0))
        block = jax.random.bits(keys[0], (SMALL_FRAMES, side, side, 3), "uint8")
        arrays = _transitions(frames) | {
            "image": _repeated(block, frames),
            "transition": jnp.arange(frames - steps),
            "first": jnp.zeros(frames, jnp.int32),
        }
        hyper = {key: jnp.float32(v[0]) for key, v in config.varying.items()}
        phase = Shifted(learner, config.frames.shift)
        return phase, learner.init(keys[1], hyper, {}), arrays

    settings = dict(steps=steps, gamma=config.gamma, stack=config.frames.stack)
    sampler = StackedTransitions(frames - steps, batch, ("image",), **settings)
    return Setup(make, sampler, f"{batch} of {side} px", net.dtype.name)


def _transitions(frames: int) -> dict[str, jax.Array]:
    """What both phases read, of one long episode."""
    keys = jax.random.split(jax.random.key(2), 2)
    return {
        "action": jax.random.uniform(keys[0], (frames, ACTIONS), minval=-1),
        "reward": jax.random.uniform(keys[1], (frames,), maxval=2),
        "is_first": jnp.arange(frames) == 0,
        "is_terminal": jnp.zeros(frames, bool),
    }


def _repeated(block: jax.Array, length: int) -> jax.Array:
    """The block again and again: a whole dataset of random bits takes many times its
    memory to make.
    """
    return block[jnp.arange(length) % len(block)]


# In words, and the flags of a batch that a CPU manages: that at which the official code
# was measured.
PHASES = {
    world_model: ("world model", ("--latent.batch", "2", "--latent.length", "16")),
    latents: ("LEQ from pixels", ("--leq.batch", "32")),
}


def _case(
    setup: Callable[[Config, int], Setup],
    preset: str,
    about: str = "",
    on: tuple[str, ...] = ("cpu", "gpu"),
) -> Case:
    """A case of the paper's batch on a dataset of V-D4RL's size; small for a CPU."""
    what, small = PHASES[setup]
    return Case(
        about=f"{what}, {preset.removeprefix('size')}{about}",
        setup=setup,
        flags=("--configs", preset),
        entries=FRAMES,
        small=() if preset == "demo" else small,  # the demo is a CPU's as it is
        small_entries=SMALL_FRAMES,
        on=on,
    )


def _of_a_size(preset: str, on: tuple[str, ...]) -> dict[str, Case]:
    name = preset.removeprefix("size")
    return {
        f"world_model_{name}": _case(world_model, preset, on=on),
        f"leq_{name}": _case(latents, preset, on=on),
    }


def _placement(preset: str, on: tuple[str, ...]) -> Case:
    case = _case(world_model, preset, ": dataset on the device or streamed", on)
    return replace(case, variants=PLACEMENTS)


def _remat(preset: str, on: tuple[str, ...]) -> Case:
    case = _case(world_model, preset, ": with and without remat", on)
    return replace(case, variants=REMAT)


def _grid(preset: str, on: tuple[str, ...]) -> Case:
    return replace(_case(latents, preset, ": one and four τ", on), variants=GRID)


def _reinforce(preset: str) -> Case:
    """LEQ with the score-function gradient, as the official code has it from pixels."""
    case = _case(latents, preset, ": with REINFORCE", on=())
    return replace(case, flags=(*case.flags, "--actor.update", "reinforce"))


def _memory(preset: str, on: tuple[str, ...]) -> Case:
    """With V-D4RL's 100k frames on the device, and the paper's batch everywhere."""
    case = _case(world_model, preset, ": the memory that it would take", on)
    return replace(case, small=(), small_entries=None, variants=REMAT, timed=False)


def _imagined(name: str) -> Case:
    """Another algorithm in the imagination of the paper's world model."""
    return Case(
        about=f"{name}, 12M",
        setup=latents,
        flags=("--configs", "vd4rl", "--algorithm", name),
        entries=FRAMES,
        small=(f"--{name}.batch", "32"),
        small_entries=SMALL_FRAMES,
        on=("gpu",),
    )


DRQ = ("--configs", "vd4rl", "drq_bc", "--data.image_size", "84")
CASES = {
    **_of_a_size("demo", on=("cpu", "gpu")),
    **_of_a_size("size1m", on=("cpu", "gpu")),
    **_of_a_size("size12m", on=("cpu", "gpu")),
    **_of_a_size("size25m", on=()),
    **_of_a_size("size50m", on=("gpu",)),
    **{f"{name}_12m": _imagined(name) for name in IMAGINING},
    "reinforce_12m": _reinforce("size12m"),
    "placement_1m": _placement("size1m", on=("cpu",)),
    "placement_12m": _placement("size12m", on=("gpu",)),
    "grid_1m": _grid("size1m", on=("cpu",)),
    "grid_12m": _grid("size12m", on=("gpu",)),
    "grids_demo": replace(
        _case(latents, "demo", ": one, nine and twenty runs", on=()), variants=GRIDS
    ),
    "remat_1m": _remat("size1m", on=("cpu",)),
    "remat_12m": _remat("size12m", on=("gpu",)),
    "frames_drq_bc": Case(
        about="DrQ+BC from stacked frames, 84 px",
        setup=own_encoder,
        flags=DRQ,
        entries=FRAMES,
        small_entries=SMALL_FRAMES,
    ),
    "memory_12m": _memory("size12m", on=("cpu", "gpu")),
    "memory_50m": _memory("size50m", on=("gpu",)),
}
