"""An environment of one's own, and data of it (docs/own-environment.md has the rest).

python examples/own_environment.py
python train_offline.py --configs hopper --env examples.own_environment:make \
    --data pendulum.hdf5 --logdir runs/pendulum
python eval.py --logdir runs/pendulum --episodes 10 --video pendulum.mp4
"""

import gymnasium
import numpy as np
from gymnasium import spaces

import dreamer_leq as dl


class Pendulum(gymnasium.Env):
    """A hanging pole, to be swung up by a motor that is too weak to lift it."""

    def __init__(self, render_mode=None):
        self.observation_space = spaces.Box(-8, 8, (3,), np.float32)
        self.action_space = spaces.Box(-2, 2, (1,), np.float32)  # torque
        self.render_mode = render_mode

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.angle, self.speed = np.pi + self.np_random.uniform(-0.3, 0.3), 0.0
        return self.seen(), {}

    def step(self, action):
        self.speed += 0.05 * (8 * np.sin(self.angle) + 3 * action[0])
        self.angle += 0.05 * np.clip(self.speed, -8, 8)
        height = np.cos(self.angle)
        return self.seen(), float(height), False, False, {"success": height > 0.95}

    def seen(self):
        state = np.cos(self.angle), np.sin(self.angle), self.speed
        return np.clip(state, -8, 8).astype(np.float32)

    def render(self):
        picture = np.full((64, 64, 3), 255, np.uint8)
        along = np.linspace(0, 24, 50)
        row = np.intp(32 - along * np.cos(self.angle))
        picture[row, np.intp(32 + along * np.sin(self.angle))] = 0
        return picture


def make(render_mode=None):
    """What --env names: a new environment whose episodes end by the clock."""
    return gymnasium.wrappers.TimeLimit(Pendulum(render_mode), 100)


def scripted(seen, rng):
    """Swings it up, holds it there, and is clumsy; actions lie in [-1, 1]."""
    cos, sin, speed = seen
    wanted = -4 * sin - speed if cos > 0.8 else np.sign(speed or 1)
    return np.clip([wanted + rng.normal(0, 0.5)], -1, 1)


def main(episodes=60):
    """Write pendulum.hdf5, half of it random actions."""
    rng, walks = np.random.default_rng(0), []
    dl.register_env("pendulum", make)
    with dl.make_env("pendulum", seed=0) as env:
        for number in range(episodes):
            walk = [env.reset() | {"action": np.zeros(env.action_size)}]
            while not walk[-1]["is_last"]:
                action = scripted(walk[-1]["vector"], rng)
                if number % 2:
                    action = rng.uniform(-1, 1, env.action_size)
                walk.append(env.step(action) | {"action": action})
            walks.append({name: [entry[name] for entry in walk] for name in walk[0]})
    dl.write_dataset("pendulum.hdf5", walks, alignment="arrival")


if __name__ == "__main__":
    main()
