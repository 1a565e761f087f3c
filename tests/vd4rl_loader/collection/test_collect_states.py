"""Collected state vectors: D4RL's and NeoRL's layouts, and what simulators did."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest
from policy_files import save_policies

from vd4rl_loader.__main__ import main
from vd4rl_loader.collection.gymnasium import collect_gymnasium
from vd4rl_loader.collection.play import play_transitions
from vd4rl_loader.collection.pointmaze import (
    _Walks,
    _without_whole_ways,
    collect_pointmaze,
)
from vd4rl_loader.collection.policies import open_policies
from vd4rl_loader.collection.suites import SUITES
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.locomotion import TASKS, make_locomotion
from vd4rl_loader.simulators.mazes import MAZES
from vd4rl_loader.simulators.pointmaze import move

HOPPER = {"task": "Hopper-v4", "seed": 3, "progress": False}
mazes = pytest.mark.parametrize("maze", ["umaze", "medium", "large", "ultra"])


def load(path):
    """All arrays of an HDF5 file by their paths, as D4RL's `get_dataset` does."""
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[:]

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays


def provenance(path):
    with h5py.File(path) as file:
        return json.loads(file["metadata"].attrs["provenance"])


def qlearning_rows(data):
    """The rows that D4RL's `qlearning_dataset` keeps: no timeouts, not the last."""
    rows = np.arange(len(data["rewards"]) - 1)
    return rows[~data["timeouts"][:-1]]


def spans(data):
    ends = np.flatnonzero(data["terminals"] | data["timeouts"]) + 1
    assert ends[-1] == len(data["rewards"])
    return list(zip([0, *ends[:-1]], ends, strict=True))


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    path = tmp_path_factory.mktemp("maze") / "medium.hdf5"
    return collect_pointmaze("medium", 20_000, seed=1, out=path)


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    path = tmp_path_factory.mktemp("hopper") / "replay.hdf5"
    return collect_gymnasium(
        level="medium_replay", steps=1200, out=path, workers=2, **HOPPER
    )


@pytest.fixture(scope="module")
def neorl(tmp_path_factory):
    path = tmp_path_factory.mktemp("neorl") / "medium.npz"
    return collect_gymnasium(
        level="medium", steps=2600, out=path, layout="neorl", workers=1, **HOPPER
    )


def check_layout(data, observation_size, action_size):
    count = len(data["rewards"])
    expected = {
        "observations": ("float32", (count, observation_size)),
        "next_observations": ("float32", (count, observation_size)),
        "actions": ("float32", (count, action_size)),
        "rewards": ("float32", (count,)),
        "terminals": ("bool", (count,)),
        "timeouts": ("bool", (count,)),
    }
    for key, layout in expected.items():
        assert (str(data[key].dtype), data[key].shape) == layout
    assert all(len(array) == count for array in data.values())
    assert all(np.isfinite(array).all() for array in data.values())
    assert np.abs(data["actions"]).max() <= 1
    assert not (data["terminals"] & data["timeouts"]).any()
    rows = qlearning_rows(data)
    same = (data["observations"][rows + 1] == data["next_observations"][rows]).all(1)
    # What follows a terminal row is the next episode; D4RL masks it with the terminal.
    np.testing.assert_array_equal(same, ~data["terminals"][rows])


def test_a_maze_file_is_as_d4rls_reader_expects(medium):
    data = load(medium)
    check_layout(data, 2, 2)
    assert 20_000 <= len(data["rewards"]) < 20_000 + 4 * 8 * 5
    assert set(data) == {
        *("observations", "actions", "next_observations", "rewards"),
        *("terminals", "timeouts", "infos/goal"),
    }
    np.testing.assert_array_equal(np.unique(data["infos/goal"], axis=0), [[20, 20]])


def test_stored_moves_are_exactly_the_simulations(medium):
    data = load(medium)
    moved = move(MAZES["medium"], data["observations"], data["actions"])
    np.testing.assert_array_equal(moved, data["next_observations"])


def test_maze_walks_end_at_the_goal_with_reward_1_and_nowhere_else(medium):
    data = load(medium)
    near = np.linalg.norm(data["next_observations"] - [20, 20], axis=1) <= 0.5
    np.testing.assert_array_equal(data["terminals"], near)
    np.testing.assert_array_equal(data["rewards"], near.astype(np.float32))
    assert near.sum() > 5
    before = np.linalg.norm(data["observations"] - [20, 20], axis=1)
    assert before.min() > 0.5


def test_half_of_the_steps_are_lost(medium):
    """Walks to a target rarely take 40 steps, lost ones only at the goal fewer."""
    data = load(medium)
    lengths = np.array([end - begin for begin, end in spans(data)])
    first, last = np.cumsum(lengths) - lengths, np.cumsum(lengths) - 1
    share = lengths[lengths == 40].sum() / len(data["rewards"])
    assert 0.47 < share < 0.56
    lost = lengths == 40
    assert data["timeouts"][last[lost]].mean() > 0.98
    # the rest times out in the middle of a cell, but for the few that the clock stopped
    last = data["next_observations"][last[~lost & ~data["terminals"][last]]]
    away = np.linalg.norm(last - 4 * np.rint(last / 4), axis=1)
    assert (away <= 0.5).mean() > 0.95
    # lost walks keep their direction for eight steps, and are mixed with the others
    moves = data["actions"][first[lost, None] + np.arange(40)].reshape(-1, 5, 8, 2)
    assert np.abs(moves.mean(2)).mean() > 0.5
    assert moves.std(2).mean() < 0.3 < moves.mean(2).std(1).mean()
    assert abs(np.flatnonzero(lost).mean() / len(lost) - 0.5) < 0.05


def test_lost_walks_run_into_walls(medium):
    """A world model learns them there: hardly any other step touches one."""
    data = load(medium)
    lengths = np.array([end - begin for begin, end in spans(data)])
    way = data["next_observations"] - data["observations"]
    stopped = (np.abs(way - 0.5 * data["actions"]) > 1e-3).any(1)
    lost = np.repeat(lengths == 40, lengths)
    assert stopped[lost].mean() > 0.3 and stopped[~lost].mean() < 0.08


def test_a_fifth_of_the_walks_goes_to_the_goal(medium):
    """And a fifth comes from its cell. Others pass by it too, and some are late."""
    data, maze = load(medium), MAZES["medium"]
    begin, end = np.array(spans(data)).T
    aimed = end - begin != 40
    assert 0.18 < data["terminals"][end - 1][aimed].mean() < 0.36
    first = maze.cell(data["observations"][begin[aimed]])
    assert 0.18 < (first == maze.goal_cell).all(-1).mean() < 0.32  # those at rims drop


@mazes
def test_no_walk_leads_from_start_to_goal(maze, tmp_path):
    path = collect_pointmaze(maze, 80_000, seed=2, out=tmp_path / "data.hdf5")
    data, found = load(path), MAZES[maze]
    task = found.distances(found.start_cell)[found.goal_cell]
    cells = found.cell(data["observations"]), found.cell(data["next_observations"])
    farthest, starts = 0, set()
    for begin, end in spans(data):
        visited = {*map(tuple, cells[0][begin:end]), *map(tuple, cells[1][begin:end])}
        assert not {found.start_cell, found.goal_cell} <= visited
        distances = found.distances(cells[0][begin])
        last = distances[tuple(cells[1][end - 1])]
        assert last <= task // 2 or end - begin <= 40
        farthest = max(farthest, *(distances[cell] for cell in visited))
        starts.add(tuple(cells[0][begin]))
        assert end - begin <= 4 * 8 * (task // 2)
    assert starts == set(map(tuple, found.free_cells()))
    record = provenance(path)
    assert (record["longest_episode_cells"], record["task_cells"]) == (farthest, task)
    assert farthest < task
    assert (record["task"], record["seed"], record["noise"]) == (maze, 2, 1.0)
    assert record["episodes"] == len(spans(data))


def test_walks_from_start_to_goal_would_be_dropped():
    """The second of three walks passes the start cell and then the goal cell."""
    maze = MAZES["umaze"]
    xy = np.float32([[0, 0], [8, 0], [0, 0], [8, 8], [4, 8], [8, 8]])
    next_xy = np.float32([[4, 0], [8, 4], [4, 0], [0.4, 8], [0.4, 8], [8, 4]])
    rest = np.zeros((6, 2), np.float32), next_xy, np.zeros(6, bool), np.zeros(6, bool)
    rows = _without_whole_ways(maze, _Walks(np.array([0, 0, 1, 1, 2, 2]), xy, *rest))
    assert rows.walk.tolist() == [0, 0, 2, 2]


def test_maze_data_depend_on_their_arguments_alone(medium, tmp_path):
    def bytes_of(name, steps=20_000, seed=1, noise=1.0):
        path = tmp_path / f"{name}.hdf5"
        return collect_pointmaze("medium", steps, seed, path, noise).read_bytes()

    assert bytes_of("same") == medium.read_bytes()
    assert bytes_of("seed", seed=2) != medium.read_bytes()
    assert bytes_of("noise", noise=0.4) != medium.read_bytes()
    bytes_of("longer", steps=60_000)
    longer = load(tmp_path / "longer.hdf5")["observations"]
    shorter = load(medium)["observations"]
    np.testing.assert_array_equal(longer[: len(shorter)], shorter)


def log_density(checkpoint, observation, action):
    """Of a bundled policy of Hopper, from its file's arrays; and its mean action."""
    path = open_policies("Hopper-v4").path / f"{checkpoint:07d}.npz"
    with np.load(path) as file:
        w = {key: file[key].astype(np.float64) for key in file.files}
    hidden = np.maximum(observation @ w["w0"] + w["b0"], 0)
    hidden = np.maximum(hidden @ w["w1"] + w["b1"], 0)
    mean, log_std = np.split(hidden @ w["w2"] + w["b2"], 2, axis=1)
    std = np.exp(np.clip(log_std, -10, 2))
    action = action.astype(np.float64).clip(-0.9999, 0.9999)
    u = np.arctanh(action)
    log_normal = -(((u - mean) / std) ** 2) / 2 - np.log(std * np.sqrt(2 * np.pi))
    return (log_normal - np.log(1 - action**2)).sum(1), np.tanh(mean)


def test_a_hopper_file_is_as_d4rls_reader_expects(replay):
    data = load(replay)
    check_layout(data, 11, 3)
    assert {"infos/qpos", "infos/qvel", "infos/action_log_probs"} < set(data)
    positions = data["infos/qpos"][:, 1:]
    np.testing.assert_array_equal(data["observations"][:, :5], positions)
    record = provenance(replay)
    assert (record["task"], record["level"]) == ("Hopper-v4", "medium_replay")
    assert record["episodes"] == len(spans(data)) and record["policies"] == "bundled"


def test_stored_steps_are_mujocos(replay):
    data, rng = load(replay), np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make("Hopper-v4").unwrapped
    env.reset()
    rows = rng.integers(len(data["rewards"]), size=100)
    for row in [*rows, *np.flatnonzero(data["terminals"])[:5]]:
        env.set_state(data["infos/qpos"][row], data["infos/qvel"][row])
        observation, reward, terminal, _, _ = env.step(data["actions"][row])
        np.testing.assert_allclose(
            observation, data["next_observations"][row], atol=2e-3, rtol=2e-3
        )
        np.testing.assert_allclose(reward, data["rewards"][row], atol=2e-3)
        assert terminal == data["terminals"][row]


def test_every_checkpoint_up_to_medium_plays_its_share_in_turn(replay):
    data = load(replay)
    sure = np.abs(data["actions"]).max(1) < 0.999  # float32 lost the others' tails
    rows = []
    for checkpoint in range(10_000, 120_000, 10_000):
        inputs = data["observations"][sure], data["actions"][sure]
        found, _ = log_density(checkpoint, *inputs)
        stored = data["infos/action_log_probs"][sure]
        rows.append(np.flatnonzero(np.abs(found - stored) < 0.01))
    played = np.concatenate(rows)
    assert len(played) > 0.98 * sure.sum()
    assert (np.diff(played) > 0).mean() > 0.98  # chance hits aside
    share = 1200 / 11
    assert min(map(len, rows)) > 0.8 * share * sure.mean()


def test_random_actions_are_uniform(tmp_path):
    path = collect_gymnasium(
        level="random", steps=1000, out=tmp_path / "a.hdf5", workers=1, **HOPPER
    )
    data = load(path)
    stored = data["infos/action_log_probs"]
    np.testing.assert_allclose(stored, -3 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(data["actions"].std(0), 1 / np.sqrt(3), rtol=0.05)
    assert data["terminals"].sum() == len(spans(data)) > 10


@pytest.mark.parametrize(
    "task, observation_size", [("Walker2d-v4", 17), ("HalfCheetah-v4", 17)]
)
def test_random_data_need_no_policies(task, observation_size, tmp_path):
    data = load(
        collect_gymnasium(
            task, "random", 30, 0, tmp_path / "a.hdf5", workers=1, progress=False
        )
    )
    check_layout(data, observation_size, 6)
    if task == "HalfCheetah-v4":
        assert np.flatnonzero(data["timeouts"]).tolist() == [999]
        assert not data["terminals"].any()


def test_the_number_of_workers_does_not_matter(replay, tmp_path):
    again = collect_gymnasium(
        level="medium_replay", steps=1200, out=tmp_path / "a.hdf5", workers=1, **HOPPER
    )
    assert again.read_bytes() == replay.read_bytes()


def test_medium_and_expert_play_equally_many_steps(tmp_path):
    path = tmp_path / "a.hdf5"
    collect_gymnasium(level="medium_expert", steps=400, out=path, workers=2, **HOPPER)
    data = load(path)
    sure = np.abs(data["actions"]).max(1) < 0.999
    expert, _ = log_density(220_000, data["observations"], data["actions"])
    by_expert = np.abs(expert - data["infos/action_log_probs"]) < 0.01
    first = np.flatnonzero(by_expert & sure)[0]
    assert first in [begin for begin, _ in spans(data)] and 200 <= first < 600
    assert by_expert[first:][sure[first:]].mean() > 0.98


def test_neorl_files_are_as_its_reader_expects(neorl):
    with np.load(neorl, allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    count = len(data["obs"])
    shapes = {key: array.shape for key, array in data.items()}
    index = data.pop("index")
    assert shapes == {
        **{"obs": (count, 12), "next_obs": (count, 12), "action": (count, 3)},
        **{"reward": (count, 1), "done": (count, 1), "index": index.shape},
    }
    assert {array.dtype for array in data.values()} == {np.dtype("float32")}
    starts, ends = [0, *index[:-1]], index  # the reader prepends 0
    assert index[-1] == count and (np.diff([0, *index]) > 0).all()
    for begin, end in zip(starts, ends, strict=True):
        np.testing.assert_array_equal(
            data["obs"][begin + 1 : end], data["next_obs"][begin : end - 1]
        )
        assert not data["done"][begin : end - 1].any()
        height, angle = data["next_obs"][end - 1, 1:3]
        fallen = height <= 0.7 or abs(angle) >= 0.2
        assert data["done"][end - 1, 0] == fallen
        # x position comes first: it starts at 0 and moves as its velocity says.
        assert abs(data["obs"][begin, 0]) < 0.006
    x, velocity = data["obs"][: index[0], [0, 6]].T
    np.testing.assert_allclose(np.diff(x).mean(), 0.008 * velocity.mean(), rtol=0.05)
    with zipfile.ZipFile(neorl) as archive:
        assert json.loads(archive.comment)["level"] == "medium"


def test_four_of_five_neorl_episodes_play_the_mean_action(neorl):
    with np.load(neorl) as file:
        obs, action, index = file["obs"], file["action"], file["index"]
    assert len(index) >= 5
    _, mean = log_density(110_000, obs[:, 1:], action)
    by_mean = np.abs(action - mean).max(1) < 1e-3
    shares = [by_mean[a:b].mean() for a, b in zip([0, *index[:4]], index, strict=False)]
    assert shares[:4] == [1, 1, 1, 1] and shares[4] < 0.2


@pytest.mark.parametrize("task", TASKS)
def test_environments_are_made_without_a_word(task, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_locomotion(task, x_position=True)
        plain = make_locomotion(task, x_position=False)
    np.testing.assert_array_equal(env.reset(seed=1)[0][1:], plain.reset(seed=1)[0])
    assert env.spec.max_episode_steps == 1000
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_without_gymnasium_the_user_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(DataError, match="pip install gymnasium"):
        make_locomotion("Hopper-v4", x_position=False)


GYMNASIUM = {"task": "Hopper-v4", "level": "random", "steps": 10, "seed": 0}
MAZE = {"task": "umaze", "steps": 10, "seed": 0}


@pytest.mark.parametrize(
    "suite, options, message",
    [
        ("gymnasium", {**GYMNASIUM, "task": "Hoper-v4"}, "did you mean Hopper-v4"),
        ("gymnasium", {**GYMNASIUM, "level": "expret"}, "did you mean expert"),
        ("gymnasium", {**GYMNASIUM, "steps": 0}, "steps is 0"),
        ("gymnasium", {**GYMNASIUM, "seed": -1}, "seed is -1"),
        ("gymnasium", {**GYMNASIUM, "workers": 0}, "workers is 0"),
        ("gymnasium", {**GYMNASIUM, "layout": "minari"}, "d4rl or neorl"),
        ("gymnasium", {**GYMNASIUM, "layout": "neorl"}, "end in .npz"),
        ("pointmaze", {**MAZE, "task": "umase"}, "did you mean umaze"),
        ("pointmaze", {**MAZE, "steps": 0}, "steps is 0"),
        ("pointmaze", {**MAZE, "seed": -1}, "seed is -1"),
        ("pointmaze", {**MAZE, "noise": -0.1}, "noise is -0.1"),
        ("pointmaze", {**MAZE, "noise": float("nan")}, "noise is nan"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    suite, options, message, tmp_path
):
    with pytest.raises(DataError, match=message):
        SUITES[suite].collect(**{**options, "out": tmp_path / "a.hdf5"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "suite, options", [("gymnasium", GYMNASIUM), ("pointmaze", MAZE)]
)
def test_an_existing_file_is_kept(suite, options, tmp_path):
    path = tmp_path / "a.hdf5"
    path.write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        SUITES[suite].collect(**{**options, "out": path})
    assert path.read_text() == "precious"


def test_an_unwritable_folder_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        collect_pointmaze("umaze", 10, 0, tmp_path / "file" / "a.hdf5")


def test_policies_of_another_task_are_refused_and_nothing_is_written(tmp_path):
    policies = save_policies(tmp_path, sizes=(17, 6))
    before = set(tmp_path.iterdir())
    options = {**GYMNASIUM, "level": "medium", "policies": policies, "progress": False}
    with pytest.raises(DataError, match="17 observations to 6 actions, but Hopper-v4"):
        collect_gymnasium(**options, out=tmp_path / "a.hdf5")
    assert set(tmp_path.iterdir()) == before


def test_own_policies_are_played(tmp_path):
    policies = save_policies(tmp_path, sizes=(11, 3))
    path = collect_gymnasium(
        **HOPPER,
        level="medium",
        steps=50,
        out=tmp_path / "a.hdf5",
        policies=policies,
        workers=1,
    )
    # The silent policy: u ~ N(0, 1), so that half of |tanh(u)| are below tanh(0.674).
    below = np.abs(load(path)["actions"]) < np.tanh(0.674)
    assert 0.3 < below.mean() < 0.7
    assert provenance(path)["policies"] == str(tmp_path)


def test_walks_begin_outside_the_goal_and_are_given_up_in_time(tmp_path):
    """With noise that drowns the controller: 32 steps for every cell of the way."""
    data = load(collect_pointmaze("umaze", 40_000, 0, tmp_path / "a.hdf5", noise=50.0))
    begin, end = np.array(spans(data)).T
    first, last = data["observations"][begin], data["next_observations"][end - 1]
    assert np.linalg.norm(first - [0, 8], axis=1).min() > 0.5
    away = np.linalg.norm(last - 4 * np.rint(last / 4), axis=1)
    given_up = (end - begin)[away > 0.5]
    assert set(given_up) == {32, 64, 96, 40}  # 40: the lost ones


class FallsAtLast:
    """A stand-in for Gymnasium: the third and last step is also a fall."""

    class unwrapped:
        class data:
            qpos, qvel = np.zeros(6), np.zeros(6)

    def reset(self, seed):
        self.steps = 0
        return np.zeros(12), {}

    def step(self, action):
        self.steps += 1
        return np.full(12, self.steps), 1.0, self.steps == 3, self.steps == 3, {}


def test_a_fall_in_the_last_step_is_a_timeout_as_in_d4rl():
    episode = play_transitions(
        FallsAtLast(), lambda _: (np.zeros(3, np.float32), 0.0), 0, True
    )
    assert episode["timeouts"].tolist() == [False, False, True]
    assert not episode["terminals"].any()


COMMAND = ["collect", "--suite", "pointmaze", "--task", "umaze", "--out"]


def test_the_command_collects_a_maze(tmp_path, capsys):
    path = tmp_path / "folder" / "a.hdf5"
    options = ["--steps", "50", "--noise", "0.3", "--seed", "4"]
    assert main([*COMMAND, str(path), *options]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    record = provenance(path)
    assert (record["task"], record["seed"], record["noise"]) == ("umaze", 4, 0.3)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--level", "expert"], "--level is no option of --suite pointmaze"),
        (["--format", "neorl"], "--format is no option of --suite pointmaze"),
        (["--suite", "gymnasium"], "--level is missing: --suite gymnasium needs it"),
        (["--suite", "dm_control"], "--level is missing: --suite dm_control needs it"),
        (["--suite", "gym"], "unknown suite 'gym': give one of dm_control, gymnasium"),
        (["--suite", "gymnasium", "--size", "3"], "--size is no option of --suite gym"),
    ],
)
def test_options_of_another_suite_are_refused_in_one_line(
    options, message, tmp_path, capsys
):
    assert main([*COMMAND, str(tmp_path / "a.hdf5"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def start_hopper(path, steps, **environment):
    command = [sys.executable, "-m", "vd4rl_loader", "collect", "--suite", "gymnasium"]
    options = f"--task Hopper-v4 --level random --steps {steps} --workers 2"
    return subprocess.Popen(
        [*command, *options.split(), "--out", str(path)],
        start_new_session=True,
        # a test run in the background of a shell is deaf to SIGINT, and so its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def deaf_children(pid):
    """How many children of a process ignore SIGINT: the workers that have begun."""
    count = 0
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        status = Path(f"/proc/{child}/status").read_text()
        ignored = int(status.split("SigIgn:")[1].split()[0], 16)
        count += ignored >> (signal.SIGINT - 1) & 1
    return count


def test_the_command_needs_no_opengl(tmp_path):
    path = tmp_path / "a.hdf5"
    process = start_hopper(path, 40, MUJOCO_GL="a library that is not there")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"{path}\n"), errors
    check_layout(load(path), 11, 3)


def test_ctrl_c_leaves_no_file_and_no_process(tmp_path):
    process = start_hopper(tmp_path / "a.hdf5", 10**8)
    deadline = time.monotonic() + 30
    while deaf_children(process.pid) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "nothing was written" in errors and "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not list(tmp_path.iterdir())
