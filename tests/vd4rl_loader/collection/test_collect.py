"""Collected datasets: their format, and that they hold what dm_control did."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import mujoco
import numpy as np
import pytest
from policy_files import save_policies

from vd4rl_loader import open_dataset
from vd4rl_loader.collection import pixels as collecting
from vd4rl_loader.collection import suites
from vd4rl_loader.collection.pixels import collect
from vd4rl_loader.collection.play import EpisodeMaker
from vd4rl_loader.collection.recipe import Recipe
from vd4rl_loader.errors import DataError
from vd4rl_loader.files.episode_files import write_episode
from vd4rl_loader.simulators import opengl
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.workers import WorkerLost

WALKER = {
    "task": "walker_walk",
    "level": "medium_expert",
    "episodes": 2,
    "seed": 4,
    "render": "fast",
    "size": 48,
    "noise": 0.3,
    "progress": False,
}
KEYS = ["image", "action", "reward", "discount", "is_first", "is_last", "is_terminal"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two episodes, made by two workers."""
    return collect(**WALKER, out=tmp_path_factory.mktemp("data"), workers=2)


def load(path):
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def episode_files(folder):
    return sorted(folder.glob("*.npz"))


def test_files_lie_and_are_named_as_vd4rls_readers_expect(dataset):
    assert dataset.parts[-4:] == ("main", "walker_walk", "medium_expert", "48px")
    files = list(dataset.glob("*.npz"))
    assert len(files) == 2
    for path in files:
        stamp, identifier, _ = path.name.split("-")
        time.strptime(stamp, "%Y%m%dT%H%M%S")
        assert len(identifier) == 32
        # How V-D4RL's replay counts steps without opening the files.
        assert int(str(path).split("-")[-1][:-4]) - 1 == 500


def test_episodes_have_vd4rls_keys_types_and_length(dataset):
    for path in episode_files(dataset):
        episode = load(path)
        assert list(episode) == KEYS
        layout = {
            key: (str(array.dtype), array.shape) for key, array in episode.items()
        }
        assert layout == {
            "image": ("uint8", (501, 48, 48, 3)),
            "action": ("float32", (501, 6)),
            "reward": ("float32", (501,)),
            "discount": ("float32", (501,)),
            "is_first": ("bool", (501,)),
            "is_last": ("bool", (501,)),
            "is_terminal": ("bool", (501,)),
        }
        assert not episode["action"][0].any() and episode["reward"][0] == 0
        assert np.flatnonzero(episode["is_first"]).tolist() == [0]
        assert np.flatnonzero(episode["is_last"]).tolist() == [500]
        assert not episode["is_terminal"].any() and (episode["discount"] == 1).all()


def test_replaying_an_episode_in_dm_control_gives_its_rewards_and_frames(dataset):
    """The project's alignment: entry t = (action that led to o_t, its reward, o_t)."""
    episode = load(episode_files(dataset)[1])
    style = RenderStyle.named("fast", 48)
    recipe = Recipe("walker_walk", "medium_expert", 4, style, False, 0.3, None, "")
    env, _ = EpisodeMaker(recipe).begin(1)
    env.reset()
    state = env.get_state()
    env.close()
    # From here on dm_control alone, started elsewhere, put into the first state.
    plain = opengl.load_suite().load("walker", "walk", task_kwargs={"random": 77})
    physics = plain.physics
    physics.model.light_castshadow[:] = False
    physics.model.mat_reflectance[:] = 0
    physics.model.vis.quality.offsamples = 0
    plain.reset()
    physics.set_state(state, mujoco.mjtState.mjSTATE_INTEGRATION.value)
    mujoco.mj_step1(physics.model.ptr, physics.data.ptr)
    images, rewards = [physics.render(48, 48, camera_id=0)], [0.0]
    for action in episode["action"][1:]:
        rewards.append(plain.step(action).reward + plain.step(action).reward)
        images.append(physics.render(48, 48, camera_id=0))
    np.testing.assert_array_equal(np.float32(rewards), episode["reward"])
    # The drawing's own tolerance: see test_drawing. Neighbours differ by more.
    errors = np.abs(np.int16(images) - episode["image"]).mean(axis=(1, 2, 3))
    moves = np.abs(np.diff(np.int16(images), axis=0)).mean(axis=(1, 2, 3))
    assert errors.mean() < 0.2 and errors.max() < 0.5 < moves.min()
    assert episode["reward"].sum() > 800  # an expert's episode: it moved


def test_the_record_says_how_it_was_made(dataset):
    record = json.loads((dataset / "dataset.json").read_text())
    assert record["task"] == "walker_walk" and record["level"] == "medium_expert"
    assert record["seed"] == 4 and record["action_repeat"] == 2
    assert record["alignment"] == "arrival" and record["policies"] == "bundled"
    assert RenderStyle.from_json(record["render"]) == RenderStyle.named("fast", 48)
    expected = {"checkpoint": 150_000, "mode": "mean", "noise": 0.3}
    assert record["behaviours"][3] == expected


def test_the_loader_opens_it(dataset, tmp_path):
    opened = open_dataset(
        dataset, image_size=48, cache_dir=tmp_path, log=lambda _: None
    )
    episodes = [load(path) for path in episode_files(dataset)]
    np.testing.assert_array_equal(
        opened.image, np.concatenate([episode["image"] for episode in episodes])
    )
    assert opened.spec.render == RenderStyle.named("fast", 48)
    assert (opened.spec.task, opened.spec.level) == ("walker_walk", "medium_expert")


def test_another_number_of_workers_gives_the_same_bytes(dataset, tmp_path):
    again = collect(**WALKER, out=tmp_path, workers=1)
    assert contents(again) == contents(dataset)


def test_interrupted_collections_are_completed(dataset, tmp_path):
    shutil.copytree(dataset.parents[3], tmp_path, dirs_exist_ok=True)
    folder = Path(tmp_path, *dataset.parts[-4:])
    whole, damaged = episode_files(folder)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    leftover = folder / f".{damaged.name}.part"
    leftover.write_bytes(b"half")
    before = whole.stat()
    collect(**WALKER, out=tmp_path)
    assert contents(folder) == contents(dataset)
    assert (whole.stat().st_ino, whole.stat().st_mtime) == (
        before.st_ino,
        before.st_mtime,
    )


def test_nothing_is_done_when_all_is_there(dataset, monkeypatch):
    monkeypatch.setattr(collecting, "pool", None)
    assert collect(**WALKER, out=dataset.parents[3]) == dataset


def test_two_datasets_are_not_mixed(dataset):
    before = contents(dataset)
    with pytest.raises(DataError, match="another seed, behaviours: give another --out"):
        collect(**{**WALKER, "seed": 5, "noise": None}, out=dataset.parents[3])
    assert contents(dataset) == before


def test_hdf5_shards_hold_the_same_episode_natively_at_84px(tmp_path):
    arguments = {"task": "pendulum_swingup", "level": "random", "seed": 0}
    folder = collect(
        **arguments, episodes=1, out=tmp_path, render="fast", hdf5=True, progress=False
    )
    episode = load(episode_files(folder)[0])
    (shard,) = (folder.parent / "84px").glob("*.hdf5")
    with h5py.File(shard) as file:
        arrays = {key: file[key][:] for key in file}
    assert set(arrays) == {"observation", "action", "reward", "discount", "step_type"}
    assert arrays["observation"].shape == (501, 3, 84, 84)
    assert arrays["observation"].dtype == np.uint8
    assert arrays["step_type"].tolist() == [0, *[1] * 499, 2]
    for key in ("action", "reward", "discount"):
        np.testing.assert_array_equal(arrays[key], episode[key])
    style = RenderStyle.named("fast", 84)
    recipe = Recipe(
        **arguments, render=style, hdf5=False, noise=None, policies=None, out=""
    )
    env, _ = EpisodeMaker(recipe).begin(0)
    env.reset()
    frame = env.step(episode["action"][1]).image
    env.close()
    np.testing.assert_array_equal(arrays["observation"][1].transpose(1, 2, 0), frame)
    record = json.loads((shard.parent / "dataset.json").read_text())
    assert record["render"]["size"] == 84


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"task": "walker_wlak"}, "did you mean walker_walk"),
        ({"level": "expret"}, "did you mean expert"),
        ({"episodes": 0}, "episodes is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"render": "pretty"}, "pretty"),
        ({"hdf5": True, "size": 84}, "another --size"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    tmp_path, changes, message
):
    with pytest.raises(DataError, match=message):
        collect(**{**WALKER, "out": tmp_path, **changes})
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_worker_reaches_the_user_and_leaves_no_episode(tmp_path):
    policies = tmp_path / "policies"
    policies.mkdir()
    save_policies(policies, sizes=(17, 6))
    with pytest.raises(DataError, match="17 observations"):
        collect(**{**WALKER, "noise": None}, out=tmp_path, policies=policies)
    assert not list(tmp_path.glob("main/**/*.npz"))


def test_an_unwritable_folder_is_the_users_error(tmp_path):
    (tmp_path / "main").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        collect(**WALKER, out=tmp_path)


def test_options_of_the_command_are_collects_arguments():
    parser = argparse.ArgumentParser()
    suites.add_arguments(parser)
    line = "--task t --level l --episodes 3 --seed 1 --out o --render fast --size 32"
    line += " --workers 2 --hdf5 --noise 0.3 --policy p"
    assert vars(parser.parse_args(line.split())) == {
        **{"task": "t", "level": "l", "episodes": 3, "seed": 1, "out": "o"},
        **{"render": "fast", "size": 32, "workers": 2, "hdf5": True, "noise": 0.3},
        "policies": "p",
        "suite": "dm_control",
    }


def test_ctrl_c_keeps_whole_episodes_and_leaves_no_process(tmp_path):
    command = [sys.executable, "-m", "vd4rl_loader", "collect", "--out", str(tmp_path)]
    options = "--task pendulum_swingup --level random --episodes 500 --render fast"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [*command, *options.split(), "--size", "16", "--workers", "2"],
        start_new_session=True,
        # a test run in the background of a shell is deaf to SIGINT, and so its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("main/**/*.npz")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in errors and "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    (folder,) = tmp_path.glob("main/*/*/16px")
    assert {path.suffix for path in folder.iterdir()} == {".npz", ".json"}
    for path in episode_files(folder):
        assert len(load(path)["image"]) == 501


# --- workers that are lost


@dataclass(frozen=True)
class Blank:
    """Writes episodes without simulating any; `lost` says which one kills its worker,
    the first time or always.
    """

    recipe: Recipe
    lost: int
    always: bool

    def __call__(self, index):
        first = self.recipe.folder(".npz") / ".lost"
        if index == self.lost and (self.always or not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        episode = dict.fromkeys(KEYS, np.full(3, index))
        folder, name = self.recipe.folder(".npz"), self.recipe.name(index)
        write_episode(folder, name, ".npz", episode)


@pytest.fixture
def blank(tmp_path, monkeypatch):
    """Collects four blank episodes: the folder."""

    def collected(**lost):
        make = partial(Blank, **lost)
        monkeypatch.setattr(collecting, "EpisodeMaker", make)
        return collect(**WALKER | {"episodes": 4}, out=tmp_path, workers=1)

    return collected


def test_an_episode_whose_worker_was_killed_is_made_by_another(blank, capsys):
    folder = blank(lost=2, always=False)
    assert len(episode_files(folder)) == 4
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]
    said = capsys.readouterr().err
    assert "episode 2: its worker process was killed by SIGKILL" in said
    assert "going on with new workers" in said


def test_an_episode_that_kills_every_worker_is_reported(blank, tmp_path):
    with pytest.raises(WorkerLost, match=r"episode 2: .*SIGKILL"):
        blank(lost=2, always=True)
    (folder,) = tmp_path.glob("main/*/*/48px")
    assert len(episode_files(folder)) == 2
