"""VectorEnv: order, ends of episodes, errors, deaths."""

import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dreamer_leq.envs import vector
from dreamer_leq.envs.vector import VectorEnv, WorkerError
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.workers import WorkerLost


@dataclass(frozen=True)
class Counter:
    """Factory of an environment that counts steps; at `trouble_at` it has trouble."""

    number: int
    length: int = 1000
    trouble: str | None = None
    trouble_at: int = 2

    def __call__(self):
        if self.trouble == "refuse":
            raise DataError("no such task")
        return CounterEnv(self)


class PhysicsError(RuntimeError):
    """As dm_control calls what it raises."""


class CounterEnv:
    def __init__(self, settings):
        self.settings = settings
        self.steps = 0

    def reset(self):
        self.steps = 0
        return self.observe(np.zeros(2), first=True)

    def step(self, action):
        self.steps += 1
        if self.steps == self.settings.trouble_at:
            if self.settings.trouble == "raise":
                raise KeyError("lost it")
            if self.settings.trouble == "run away":
                raise PhysicsError("mjWARN_BADQACC")
            if self.settings.trouble == "die":
                os._exit(7)
            if self.settings.trouble == "hang":
                time.sleep(600)
        return self.observe(action)

    def observe(self, action, first=False):
        return {
            "image": np.full((2, 2, 3), self.settings.number, np.uint8),
            "reward": np.float32(self.steps),
            "action": np.float32(action),
            "pid": os.getpid(),
            "has_jax": "jax" in sys.modules,
            "is_first": np.bool_(first),
            "is_last": np.bool_(self.steps >= self.settings.length),
            "is_terminal": np.bool_(False),
        }

    def close(self):
        pass


def counters(count, **trouble):
    settings = {number: {} for number in range(count)}
    settings[trouble.pop("number", 0)] = trouble
    return [Counter(number, **settings[number]) for number in range(count)]


def is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_observations_are_stacked_in_the_order_of_the_environments():
    actions = np.arange(10, dtype=np.float32).reshape(5, 2)
    with VectorEnv(counters(5), workers=2) as envs:
        assert len(envs) == 5
        first, second = envs.reset(), envs.step(actions)
    assert first["is_first"].all() and not second["is_first"].any()
    assert second["image"].shape == (5, 2, 2, 3) and second["image"].dtype == np.uint8
    assert second["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(second["action"], actions)
    assert second["reward"].dtype == np.float32 and second["is_last"].dtype == bool
    assert len(set(second["pid"])) == 2


def test_actions_that_fill_the_pipe():
    """Neither side waits for the other to read."""
    actions = np.ones((4, 500_000), np.float32)
    with VectorEnv(counters(4), workers=1) as envs:
        envs.reset()
        assert envs.step(actions)["action"].shape == actions.shape


def test_there_are_never_more_processes_than_environments():
    with VectorEnv(counters(2), workers=8) as envs:
        assert len(set(envs.reset()["pid"])) == 2
        assert len(envs._workers) == 2


def test_a_finished_environment_waits_for_reset():
    with VectorEnv(counters(2, number=1, length=2), workers=1) as envs:
        envs.reset()
        seen = [envs.step(np.full((2, 2), step)) for step in range(4)]
        assert [obs["is_last"].tolist() for obs in seen] == [
            [False, False],
            *[[False, True]] * 3,
        ]
        assert [obs["reward"].tolist() for obs in seen] == [
            [1, 1],
            [2, 2],
            [3, 0],
            [4, 0],
        ]
        assert seen[3]["action"].tolist() == [[3, 3], [1, 1]]
        again = envs.reset()
        assert again["is_first"].all() and not again["is_last"].any()


def test_physics_that_run_away_end_an_episode_and_no_more():
    with VectorEnv(counters(2, number=1, trouble="run away"), workers=1) as envs:
        assert not envs.reset()["failed"].any()
        seen = [envs.step(np.ones((2, 2))) for _ in range(3)]
        assert [obs["is_last"].tolist() for obs in seen] == [
            [False, False],
            *[[False, True]] * 2,
        ]
        assert seen[2]["failed"].tolist() == [False, True]
        assert [obs["reward"].tolist() for obs in seen] == [[1, 1], [2, 0], [3, 0]]
        assert not seen[1]["is_terminal"].any() and not envs.reset()["failed"].any()


def test_an_exception_names_the_environment_and_ends_all_processes():
    with VectorEnv(counters(3, number=2, trouble="raise"), workers=2) as envs:
        pids = set(envs.reset()["pid"])
        envs.step(np.zeros((3, 2)))
        with pytest.raises(
            WorkerError, match=r"environment 2: KeyError.*lost it"
        ) as error:
            envs.step(np.zeros((3, 2)))
        assert "in step" in "".join(error.value.__notes__)
        assert not any(map(is_alive, pids))
        with pytest.raises(RuntimeError, match="closed"):
            envs.step(np.zeros((3, 2)))


def test_a_death_names_the_environment_among_several_of_a_worker():
    # Environments 0, 2 and 4 share the process that dies when it steps number 2.
    with VectorEnv(counters(5, number=2, trouble="die"), workers=2) as envs:
        pids = set(envs.reset()["pid"])
        envs.step(np.zeros((5, 2)))
        with pytest.raises(WorkerError, match=r"environment 2: .*exited with code 7"):
            envs.step(np.zeros((5, 2)))
        assert not any(map(is_alive, pids))


def test_a_step_that_hangs_names_the_environment(monkeypatch):
    monkeypatch.setattr(vector, "_STEP_LIMIT", 2.0)
    with VectorEnv(counters(3, number=1, trouble="hang"), workers=2) as envs:
        pids = set(envs.reset()["pid"])
        envs.step(np.zeros((3, 2)))
        message = r"environment 1: no answer .* \d+ s"
        with pytest.raises(WorkerLost, match=message) as lost:
            envs.step(np.zeros((3, 2)))
        assert not any(map(is_alive, pids))
    # the limit, or what a busy machine added to it
    assert int(str(lost.value).split()[-2]) >= 2


def test_a_death_between_steps_is_reported():
    with VectorEnv(counters(2), workers=2) as envs:
        os.kill(int(envs.reset()["pid"][1]), 9)
        with pytest.raises(WorkerError, match=r"environment 1: .*SIGKILL"):
            envs.step(np.zeros((2, 2)))


def test_an_error_of_the_users_stays_one():
    envs = VectorEnv(counters(2, number=1, trouble="refuse"), workers=1)
    with envs, pytest.raises(DataError, match=r"^no such task$"):
        envs.reset()


def test_closing_leaves_no_process():
    envs = VectorEnv(counters(2), workers=2)
    pids = envs.reset()["pid"]
    assert all(map(is_alive, pids))
    envs.close()
    envs.close()
    assert not any(map(is_alive, pids))


def test_workers_do_not_import_jax_though_this_process_does():
    import jax.numpy as jnp

    actions = jnp.ones((2, 2))
    with VectorEnv(counters(2), workers=2) as envs:
        envs.reset()
        assert not envs.step(actions)["has_jax"].any()


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="0 environments"):
        VectorEnv([], workers=1)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        VectorEnv([lambda: None], workers=1)
    with VectorEnv(counters(2), workers=1) as envs:
        with pytest.raises(ValueError, match="3 actions for 2 environments"):
            envs.step(np.zeros((3, 2)))
        with pytest.raises(WorkerError, match=r"environment 0: .*step before reset"):
            envs.step(np.zeros((2, 2)))


def test_the_main_script_is_not_run_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('running')\n"  # and no `if __name__ == '__main__'`
        "from dreamer_leq.envs.vector import VectorEnv\n"
        "from test_vector import Counter\n"
        "with VectorEnv([Counter(0), Counter(1)], workers=2) as envs:\n"
        "    print(envs.reset()['image'].shape)\n"
    )
    path = [str(Path(__file__).parent), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["running", "(2, 2, 2, 3)"], done.stderr
