"""Environments of a user's own, as their module has them."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Line(gymnasium.Env):
    """A point on a line that goes where the action says, up to 3 in one step; beyond 5
    the task ends. It draws from every generator that there is.
    """

    def __init__(self, render_mode=None, images=False):
        self.observation_space = spaces.Box(-9, 9, (2,), np.float32)
        if images:
            picture = spaces.Box(0, 255, (8, 8, 3), np.uint8)
            parts = {"z": self.observation_space, "camera": picture}
            self.observation_space = spaces.Dict(parts)
        self.images = images
        self.action_space = spaces.Box(-1, 3, (1,), np.float32)
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return self.seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.x += float(action[0])
        return self.seen(), self.x, abs(self.x) > 5, False, {"is_success": self.x > 4}

    def seen(self):
        state = np.array([self.x, np.random.uniform()], np.float32)
        return {"z": state, "camera": self.render()[:8, :8]} if self.images else state

    def render(self):
        picture = np.zeros((8, 12, 3), np.uint8)
        picture[1:7, 3:6] = 99 + int(20 * abs(self.x)) % 128
        return picture


def make(render_mode=None):
    return gymnasium.wrappers.TimeLimit(Line(render_mode), 6)


def both():
    return gymnasium.wrappers.TimeLimit(Line(images=True), 6)


def endless():
    return Line()


def silent():
    """No picture of it can be had."""
    return gymnasium.wrappers.TimeLimit(Line(), 6)


def discrete():
    return gymnasium.make("CartPole-v1")


def unbounded():
    env = make()
    env.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    return env


def grey():
    env = make()
    env.observation_space = spaces.Box(0, 255, (8, 8, 1), np.uint8)
    return env


def words():
    env = make()
    env.observation_space = spaces.Dict({"said": spaces.Text(3)})
    return env


def broken():
    return Line(color="red")


nothing = 3
