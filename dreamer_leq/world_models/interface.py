"""All that LEQ and an acting agent know of a world model.

Adding one touches no file under leq/.
"""

from typing import Any, Protocol

from jax import Array

State = Any  # a pytree of arrays with leading batch axes
Noise = Any  # a pytree of arrays


class WorldModel(Protocol):
    """A frozen, trained model of one task. Implementations are pytrees."""

    members: int  # E, the size of the ensemble
    feature_size: int  # F
    observations: tuple[str, ...]  # what `filter` reads: "image", "vector"
    disagreement_unit: str

    def noise(self, key: Array, n: int) -> Noise:
        """All that is random in one imagined step of `n` states.

        It depends on neither, so that a rollout's can be drawn before its first step.
        """
        ...

    def step(
        self, state: State, action: Array, noise: Noise
    ) -> tuple[State, Array, Array]:
        """One imagined step of one ensemble member, drawn per sample.

        state: leading axis N; action: [N, A] in [-1, 1]; noise: that of N states.
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

    def features(self, state: State) -> Array:
        """What actor and critic see: [N, F]."""
        ...

    def action_features(self, action: Array) -> Array:
        """What the critic sees of an action in [-1, 1]: [..., A] -> [..., A]."""
        ...

    def starts(self, batch: dict[str, Array]) -> State:
        """The states in which imagination starts, one per transition of `batch`."""
        ...

    def successors(self, batch: dict[str, Array]) -> State:
        """The states to which the dataset's transitions of `batch` really led."""
        ...

    def pack(self, state: State) -> dict[str, Array]:
        """The states as arrays with the same leading axes, as `starts` reads them."""
        ...

    def decode(self, state: State) -> dict[str, Array]:
        """What is seen in the states [N]: image uint8 [N, H, W, 3], vector [N, D]."""
        ...

    def initial(self, n: int) -> State:
        """The states of n episodes before their first observation."""
        ...

    def filter(self, state: State, batch: dict[str, Array], key: Array) -> State:
        """The states [N] after one observation each: batch holds it, the action that
        led to it and is_first [N].
        """
        ...
