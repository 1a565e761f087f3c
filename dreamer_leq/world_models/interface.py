"""All that algorithms and an acting agent know of a world model.

`Representation` is what algorithms without imagination need: states of the dataset's
observations. `WorldModel` adds what is imagined. Implementations are frozen, trained
for one task, and pytrees. Shapes: N states, A action size, F features.
"""

from typing import Any, Protocol

from jax import Array

State = Any  # a pytree of arrays with leading batch axes
Noise = Any  # a pytree of arrays


class Representation(Protocol):
    """How observations become states, and states what the networks see."""

    feature_size: int  # F
    members: int  # E, the size of the ensemble that imagines; 0: there is no model
    observations: tuple[str, ...]  # what `filter` reads: "image", "vector"

    def starts(self, batch: dict[str, Array]) -> State:
        """The states in which the dataset's transitions of `batch` begin: [N, ...]."""
        ...

    def successors(self, batch: dict[str, Array]) -> State:
        """The states to which the dataset's transitions of `batch` really led:
        [N, ...].
        """
        ...

    def features(self, state: State) -> Array:
        """What policy and critic see of states: [N, F]."""
        ...

    def action_features(self, action: Array) -> Array:
        """What the critic sees of an action in [-1, 1]: [..., A] -> [..., A]."""
        ...

    def initial(self, n: int) -> State:
        """The states of n episodes before their first observation."""
        ...

    def pack(self, state: State) -> dict[str, Array]:
        """The states as arrays with the same leading axes, as `starts` reads them."""
        ...

    def filter(self, state: State, batch: dict[str, Array], key: Array) -> State:
        """The states [N] after one observation each: batch holds it, the action that
        led to it and is_first [N].
        """
        ...


class WorldModel(Representation, Protocol):
    """An ensemble that imagines what follows states and actions.

    A step of the model may be n agent steps: its actions are then chunks, those of n
    agent steps side by side, [N, n A], its rewards are discounted sums over them, and
    the discount from one of its states to the next is γ^n.
    """

    steps: int  # n, agent steps of a step of the model; 1 but where there are chunks
    bounded: bool  # whether no state can grow without bound
    disagreement_unit: str

    def noise(self, key: Array, n: int, dealt: bool = True) -> Noise:
        """All that is random in one imagined step of `n` states; with `dealt` False but
        for the members that take it: what `member_step` needs.

        It depends on neither state nor action, so that a rollout's can be drawn before
        its first step.
        """
        ...

    def step(
        self, state: State, action: Array, noise: Noise
    ) -> tuple[State, Array, Array]:
        """One imagined step of one ensemble member, drawn per sample; only that one is
        computed.

        state: leading axis N; action: [N, n A] in [-1, 1]; noise: that of N states.
        Returns (next_state, reward [N], cont [N]); cont is 1 - termination of the step,
        a probability, without the discount.
        """
        ...

    def member_step(
        self, state: State, action: Array, noise: Noise, member: int | Array
    ) -> tuple[State, Array, Array]:
        """`step` with one given member for all samples."""
        ...

    def disagreement(self, state: State, action: Array) -> Array:
        """How far apart the members' predictions of the next state are: [N], 0 where
        all say the same. Its unit is `disagreement_unit`.
        """
        ...

    def uncertainty(self, state: State, action: Array) -> Array:
        """How little the model knows of what follows: [N]; the penalty of MOPO."""
        ...

    def decode(self, state: State) -> dict[str, Array]:
        """What is seen in the states [N]: image uint8 [N, H, W, 3], vector [N, D]."""
        ...
