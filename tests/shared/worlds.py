"""Worlds for LEQ that are small enough to be known."""

from flax import struct


@struct.dataclass
class World:
    """Batches hold "state" and "next_state" [N, S]; a state is its own features. A
    step draws from the key itself, which is its noise.
    """

    members = 1
    feature_size = 3  # of networks that a test doesn't give
    steps = 1
    bounded = False

    def features(self, state):
        return state

    def noise(self, key, n):
        return key

    def starts(self, batch):
        return batch["state"]

    def successors(self, batch):
        return batch["next_state"]

    def action_features(self, action):
        return action
