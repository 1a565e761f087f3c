"""Worlds for LEQ that are small enough to be known."""

from flax import struct


@struct.dataclass
class World:
    """Batches hold "state" and "next_state" [N, S]; a state is its own features."""

    members = 1

    def features(self, state):
        return state

    def starts(self, batch):
        return batch["state"]

    def successors(self, batch):
        return batch["next_state"]

    def action_features(self, action):
        return action
