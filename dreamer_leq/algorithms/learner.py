"""The interface of all algorithms: a learner, and the state that it changes.

An algorithm is a subclass of `Learner` that says its losses, and a section of the
configuration (`config.learners`). Shapes: N rows of a batch, F features, A action size,
M members of a grid.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array

from dreamer_leq.algorithms import losses
from dreamer_leq.config import Config, Section
from dreamer_leq.nn.actor_critic import ActorCritic, Params
from dreamer_leq.nn.critics import PolicyCritics
from dreamer_leq.nn.optimizer import by_group, make_optimizer
from dreamer_leq.nn.policies import Policy
from dreamer_leq.world_models.frames import Frames
from dreamer_leq.world_models.interface import Representation, State

Batch = (
    Any  # a dict of arrays [N, ...] as the dataset gives it, or what `prepare` makes
)
Metrics = dict[str, Array]
Losses = dict[str, Array]


@struct.dataclass
class TrainState:
    """Everything that one learner changes. A grid's has a leading axis [M] everywhere.

    Networks are named as in `params`: actor, critic, value.
    """

    params: dict[str, Params]  # of all networks, those that don't learn too
    target: dict[str, Params]  # moving averages of the networks in `Learner.averaged`
    opt_state: optax.OptState
    step: Array  # updates so far
    hyper: dict[str, Array]  # the section's keys that a grid varies
    memory: Any = None  # what else an algorithm remembers


@struct.dataclass
class Learner:
    """An algorithm that learns from a dataset's transitions, seen through `world`.

    A batch holds N transitions: what `world.starts` and `world.successors` read, action
    [N, A] in [-1, 1], reward [N] that follows the action, and cont [N], 1 - termination
    of that step. What is constant in an update is read from the state, what learns from
    `params`: one gradient serves all networks, and all step at once.

    Where the world's encoder is still to learn, it is one of the networks, "encoder",
    and learns from what `features` of `params` enters: `losses` says which loss does.
    """

    world: Representation
    nets: Any = struct.field(pytree_node=False)
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    config: Any = struct.field(pytree_node=False)  # the section, without what varies
    gamma: float = struct.field(pytree_node=False)  # discount per agent step

    averaged: ClassVar[tuple[str, ...]] = ()  # networks with a moving average
    # of the networks that are `given`
    inherits: ClassVar[tuple[str, ...]] = ("encoder", "actor", "critic", "value")
    refreshed: ClassVar[str] = ""  # what `refresh` renews, where there is such a thing
    encoder_learns: ClassVar[bool] = True  # where the world has one that can

    @classmethod
    def nets_of(
        cls, config: Config, name: str, action_size: int, dtype: jnp.dtype
    ) -> Any:
        """The networks of a run's phase `name`: their sizes and forms."""
        if config.world_model == "frames":
            return PolicyCritics.of(Policy, config, action_size, dtype)
        return ActorCritic(config.actor, config.critic, action_size, dtype)

    @classmethod
    def create(
        cls, config: Config, name: str, world: Representation, nets: Any
    ) -> Self:
        """The learner that a run's phase `name` trains."""
        section = getattr(config, name)
        fixed = replace(section, **dict.fromkeys(section.varies))
        learner = cls(world, nets, optax.identity(), fixed, config.gamma)
        trained = (*learner.trained, *["encoder"] * cls.encoder_learns)
        optimizer = section_optimizer(section, trained, learner.updates_of)
        return learner.replace(optimizer=optimizer)

    def updates_of(self, network: str) -> int:
        """How many updates a network has in the phase: its learning rate falls over
        these.
        """
        return self.config.updates

    @property
    def trained(self) -> tuple[str, ...]:
        """The networks that learn, beside an encoder; the others stay as they are
        given.
        """
        return ("actor", "critic", "value")

    @property
    def reads(self) -> tuple[str, ...]:
        """What a batch has to hold beside the transitions: "return", "rank",
        "next_action", "chunk" (data/entries.py); "later" is a state up to `steps` ahead
        (data/frames.py).
        """
        return ()

    @property
    def steps(self) -> int:
        """Agent steps of a batch's transitions (n-step returns)."""
        return getattr(self.config, "n_step", 1)

    @property
    def refresh_every(self) -> int:
        """Updates from one `refresh` to the next, the first before all updates; 0:
        none.
        """
        return 0

    @property
    def refresh_rows(self) -> int:
        """Transitions of the dataset that `refresh` is given."""
        return 0

    def networks(self, key: Array) -> dict[str, Params]:
        """Fresh parameters of all networks."""
        found = self.nets.init(key, self.world.feature_size)
        if isinstance(self.world, Frames):
            found["encoder"] = self.world.net.init(jax.random.fold_in(key, 0))
        return found

    def remember(self) -> Any:
        """The state's `memory` before the first update."""
        return None

    def init(
        self, key: Array, hyper: dict[str, Array], given: dict[str, Params]
    ) -> TrainState:
        """The state before the first update, with the networks that are `given`."""
        params = self.networks(key)
        taken = params.keys() & given.keys() & set(self.inherits)
        params |= {name: given[name] for name in taken}
        # copies: both are donated to the next update
        target = {n: jax.tree.map(jnp.copy, params[n]) for n in self.averaged}
        opt_state, zero = self.optimizer.init(params), jnp.zeros((), jnp.int32)
        return TrainState(params, target, opt_state, zero, hyper, self.remember())

    def prepare(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Batch]:
        """What the losses learn from, computed before their gradient: the batch itself,
        or what is imagined from it.
        """
        return state, batch

    def losses(
        self, params: dict[str, Params], state: TrainState, batch: Batch, key: Array
    ) -> tuple[Losses, Metrics]:
        """Scalar losses by name, whose sum is minimised, and metrics beside them."""
        raise NotImplementedError

    def update(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """One step of all networks down the sum of the losses."""
        _check_shapes(batch)
        state, batch = self.prepare(state, batch, key)

        def total(params):
            found, metrics = self.losses(params, state, batch, key)
            named = {f"{name}_loss": loss for name, loss in found.items()}
            return sum(found.values()), metrics | named

        grads, metrics = jax.grad(total, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        target = {
            name: optax.incremental_update(average, params[name], self.ema_decay)
            for name, average in state.target.items()
        }
        state = state.replace(
            params=params, opt_state=opt_state, target=target, step=state.step + 1
        )
        return state, metrics

    def refresh(
        self, state: TrainState, batch: Batch, key: Array
    ) -> tuple[TrainState, Metrics]:
        """What is done more rarely than an update, from `refresh_rows` transitions."""
        return state, {}

    def bellman_target(self, batch: Batch, next_value: Array) -> Array:
        """R + γⁿ (1 - termination) V(s') of the batch's transitions: [N]."""
        reward, cont = batch["reward"], batch["cont"]
        discount = self.gamma**self.steps
        return losses.bellman_target(reward, cont, next_value, discount)

    @property
    def ema_decay(self) -> float:
        """Decay of the moving averages per update."""
        return self.nets.ema_decay

    def features(self, params: dict[str, Params], state: State) -> Array:
        """What the networks see of the world's states: [N, F], through the encoder of
        `params` where the world's learns.
        """
        world = self.world
        if "encoder" in params:
            world = world.seen_by(params["encoder"])
        return world.features(state)

    def policy(
        self, params: dict[str, Params], features: Array, key: Array | None = None
    ) -> Array:
        """The action by which the policy is scored: [N, F] -> [N, A] in [-1, 1].

        key: for policies that choose among samples.
        """
        return self.nets.mode(params["actor"], features)

    def value(self, params: dict[str, Params], features: Array, action: Array) -> Array:
        """Q(s, a) of an action in [-1, 1]: [..., F], [..., A] -> [...]."""
        seen = self.world.action_features(action)
        return self.nets.q(params["critic"], features, seen)


def section_optimizer(
    section: Section, trained: tuple[str, ...], updates_of: Callable[[str], int]
) -> optax.GradientTransformation:
    """The optimiser of each network by name: the section's `<network>_optimizer`, its
    `critic_optimizer` for other value functions, or its only `optimizer`.
    """

    def of(name: str) -> optax.GradientTransformation:
        if name not in trained:
            return optax.set_to_zero()
        for key in (f"{name}_optimizer", "critic_optimizer", "optimizer"):
            if settings := getattr(section, key, None):
                return make_optimizer(**asdict(settings), total=updates_of(name))
        raise AttributeError(f"{type(section).__name__} has no optimizer")

    return by_group(of)


def _check_shapes(batch: Batch) -> None:
    """Raise ValueError where rows are missing or have shapes of their own: a [N, 1]
    beside a [N] would broadcast without a word.
    """
    n = len(batch["action"])
    wrong = {k: batch[k].shape for k in ("reward", "cont") if batch[k].shape != (n,)}
    if wrong or batch["action"].ndim != 2:
        shapes = {"action": batch["action"].shape} | wrong
        raise ValueError(f"a batch of [N, A] actions and [N] numbers has {shapes}")
