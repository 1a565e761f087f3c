"""All that LEQ knows of a world model. Adding one touches no file under leq/."""

from typing import Any, Protocol

from jax import Array

State = Any  # a pytree of arrays with leading batch axes


class WorldModel(Protocol):
    """A frozen, trained model of one task. Implementations are pytrees."""

    members: int  # E, the size of the ensemble

    def step(
        self, state: State, action: Array, key: Array
    ) -> tuple[State, Array, Array]:
        """One imagined step of one ensemble member, drawn per sample.

        state: leading axis N; action: [N, A] in [-1, 1].
        Returns (next_state, reward [N], cont [N]); cont is 1 - termination of the step,
        a probability, without the discount.
        """
        ...

    def member_step(
        self, state: State, action: Array, key: Array, member: int | Array
    ) -> tuple[State, Array, Array]:
        """`step` with one given member for all samples."""
        ...

    def features(self, state: State) -> Array:
        """What actor and critic see: [N, F]."""
        ...

    def starts(self, batch: dict[str, Array]) -> State:
        """The states in which imagination starts, one per transition of `batch`."""
        ...

    def successors(self, batch: dict[str, Array]) -> State:
        """The states to which the dataset's transitions of `batch` really led."""
        ...
