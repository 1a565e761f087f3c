"""Pixel data agree with their task, and what is guessed or doubtful is said."""

import json
import os

import numpy as np
import pytest
from vd4rl_files import assert_holds, episode, stream, write_folder, write_hdf5

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.convert import convert
from vd4rl_loader.simulators import suite
from vd4rl_loader.simulators.opengl import load_suite


@pytest.fixture
def opened(tmp_path):
    """Opens episodes of .npz, or rows of .hdf5 shards; also gives the log's lines."""

    def open_episodes(episodes, task=None, **options):
        if isinstance(episodes, list):
            write_folder(tmp_path, episodes)
        lines = []
        options = {"min_length": 2, "image_size": 8, **options}
        dataset = open_dataset(tmp_path, task, log=lines.append, **options)
        return dataset, "\n".join(lines)

    return open_episodes


def small(seed, length=9, actions=6, **changes):
    return {**episode(seed, length, 8, actions), **changes}


def departure(fields):
    """The same episode where entry t holds what was done in image t."""
    action, reward = (
        np.append(fields[name][1:], np.zeros_like(fields[name][:1]), axis=0)
        for name in ("action", "reward")
    )
    return {**fields, "action": action, "reward": reward}


EPISODES = [small(seed) for seed in range(3)]


def test_the_table_of_tasks_is_dm_controls():
    dm_control = load_suite()
    names = {f"{domain}_{task}" for domain, task in dm_control.ALL_TASKS}
    assert names == set(suite.ACTION_SIZES)
    for domain, task in dm_control.ALL_TASKS[::3]:
        env = dm_control.load(domain, task)
        name = f"{domain}_{task}"
        assert env.action_spec().shape == (suite.ACTION_SIZES[name],)
        assert (not suite.never_ends(name)) == (domain == "lqr")


def test_actions_of_another_task(opened, tmp_path, capsys):
    four = [small(seed, actions=4) for seed in range(2)]
    with pytest.raises(DataError) as caught:
        opened(four, "walker_walk")
    assert str(caught.value) == (
        f"{tmp_path}: actions of 4 numbers, but walker_walk has 6: give that task's "
        "data, or another --task (4 have hopper_stand, hopper_hop)"
    )
    assert not (tmp_path / ".cache").exists()  # nothing was read
    assert main(["info", str(tmp_path), "--task", "walker_walk"]) == 2
    assert opened(four, "hopper_hop")[0].spec.action_size == 4
    assert opened(four, "my_own")[0].spec.action_size == 4


def test_time_limits_stored_as_terminals(opened, tmp_path, capsys):
    ended = [small(s, is_terminal=np.arange(9) == 8) for s in range(3)]
    dataset, said = opened(ended, "walker_walk")
    assert "3 terminals taken for time limits: walker_walk never ends" in said
    assert not dataset.is_terminal.any()
    dataset, said = opened(ended)
    assert dataset.is_terminal.sum() == 3
    assert "all 3 episodes end with a terminal after 9 entries: if that is a" in said
    assert main(["info", str(tmp_path)]) == 0
    assert "│ terminals           │ 3 " in capsys.readouterr().out


@pytest.mark.parametrize(("entries", "repeat"), [(1001, 1), (501, 2), (251, 4)])
def test_the_action_repeat_that_fills_the_time_limit(opened, entries, repeat):
    dataset, said = opened([small(0, entries), small(1, entries)], "walker_walk")
    assert dataset.spec.action_repeat == repeat
    told = "guessed, as no dataset.json says it (docs/data.md): action repeat "
    assert f"{told}{repeat}, camera 0" in said
    assert "evaluation plays 1,000 control steps" in said and "right?" not in said
    assert dataset.spec.guessed == ("action_repeat", "render")


def test_a_time_limit_of_an_unknown_task_stored_as_terminals(opened):
    last = np.arange(501) == 500
    dataset, said = opened([small(s, 501, is_terminal=last) for s in range(2)])
    assert "after 501 entries: taken for dm_control's time limit" in said
    assert not dataset.is_terminal.any()


def test_a_guess_that_does_not_fit_is_said(opened, tmp_path):
    dataset, said = opened(EPISODES, "walker_walk")
    assert dataset.spec.action_repeat == 2
    doubt = "8 actions of 2 control steps, not 1,000 in all: is action repeat 2 right?"
    assert doubt in said
    record = {"action_repeat": 125}
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    dataset, said = opened(EPISODES, "walker_walk")
    assert dataset.spec.action_repeat == 125 and dataset.spec.guessed == ("render",)
    assert "right?" not in said and "action repeat" not in said


def test_quadrupeds_camera(opened):
    twelve = [small(seed, actions=12) for seed in range(2)]
    dataset, said = opened(twelve, "quadruped_walk")
    assert dataset.spec.render.camera == 2
    assert "camera 2, dm_control's own picture" in said


def test_info_marks_what_is_guessed(opened, tmp_path, capsys):
    opened(EPISODES)
    assert main(["info", str(tmp_path), "--task", "walker_walk"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "action repeat │ 2 control steps per action (guessed)" in shown
    assert "time limit │ 1,000 control steps" in shown


@pytest.mark.parametrize(
    "record",
    [
        None,
        {"task": "my_arm", "level": "demos", "alignment": "arrival"},
        {"source": {"format": "lerobot", "robot": "so100", "fps": 30}},
        {"source": {"format": ["x"], "fps": 10**400, "robot": "a\x1b[2J" + "b" * 999}},
    ],
    ids=["unknown", "own", "robot", "hostile"],
)
def test_nothing_is_said_of_dm_control_where_data_arent_its(
    record, opened, tmp_path, capsys
):
    if record:
        (tmp_path / "dataset.json").write_text(json.dumps(record))
    ended = [small(s, 501, is_terminal=np.arange(501) == 500) for s in range(2)]
    dataset, said = opened(ended)
    spec = dataset.spec
    assert (spec.render, spec.action_repeat, spec.guessed) == (None, None, ())
    assert "guessed" not in said and "control step" not in said
    if record:
        assert dataset.is_terminal.sum() == 2 and "dm_control" not in said
    assert main(["info", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "images │ 8×8 RGB, read as 64" in shown
    for word in ("dm_control", "camera", "vd4rl", "guess", "control step", "\x1b"):
        assert word not in shown.partition("images")[2]
    robots = "from │ LeRobot's dataset, robot so100, 30 frames per second"
    assert (robots in shown) == ("lerobot" in str(record))
    assert main(["info", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["render"] is None


def test_departure_order_is_refused_with_the_key_that_reads_it(opened, tmp_path):
    with pytest.raises(DataError) as caught:
        opened([departure(fields) for fields in EPISODES])
    said = str(caught.value)
    assert "action: not zero at row 0, where an episode begins; reward: not" in said
    assert "--data.alignment departure (training) or --alignment departure (inf" in said
    dataset, _ = opened(None, alignment="departure")
    assert_holds(dataset, EPISODES)
    assert main(["info", str(tmp_path), "--alignment", "departure"]) == 0
    convert(tmp_path, tmp_path / "c", alignment="departure", log=lambda line: None)
    again = open_dataset(tmp_path / "c", min_length=2, image_size=8, log=print)
    assert_holds(again, EPISODES)


def test_departure_order_of_shards_whose_episodes_are_cut(opened, tmp_path):
    rows = stream([departure(fields) for fields in EPISODES])
    for index, (start, stop) in enumerate([(0, 5), (5, 14), (14, 27)]):
        write_hdf5(tmp_path / f"{index}.hdf5", rows, start, stop)
    assert_holds(opened(None, alignment="departure")[0], EPISODES)


def test_a_record_that_says_departure(opened, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"alignment": "departure"}))
    assert_holds(opened([departure(fields) for fields in EPISODES])[0], EPISODES)
    with pytest.raises(DataError, match="not zero at row 0"):
        opened(None, alignment="arrival")
    with pytest.raises(DataError, match="alignment is 'x': give auto, arrival or dep"):
        opened(None, alignment="x")


def test_data_that_could_be_in_either_order_get_a_hint(opened):
    either = [departure(fields) for fields in EPISODES]
    for fields in either:
        fields["action"][0] = fields["reward"][0] = 0
    _, said = opened(either)
    assert "the first and the last action of every episode are zero: if it hold" in said
    assert "--data.alignment departure" in said
    assert "the first and the last" not in opened(EPISODES)[1]


def test_what_departure_order_loses_is_weighed(opened):
    """Goals: the only reward is in the last entry, whose next image is not stored."""
    goal = [departure(fields) for fields in EPISODES]
    for fields in goal:
        fields["reward"] = np.eye(9)[8]
    with pytest.raises(DataError, match="what was dropped holds 3 of 3 rewards"):
        opened(goal, alignment="departure")
    dataset, said = opened(None, alignment="departure", skip_bad=True)
    assert not dataset.reward.any() and "holds 3 of 3 rewards" in said


def test_nan_as_the_filler_of_the_first_entry(opened):
    """As TD-MPC2 stores episodes: nothing led to the first image."""
    filled = [small(seed) for seed in range(3)]
    for fields in filled:
        fields["action"][0], fields["reward"][0] = np.nan, np.nan
    assert_holds(opened(filled)[0], EPISODES)
    filled[1]["action"][0, 1] = 0  # one number that is none is no filler
    with pytest.raises(DataError) as caught:
        opened(filled)
    assert "action: not finite at row 0" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_beyond_one_by_rounding_are_clipped(opened, dtype):
    rounded = [small(seed) for seed in range(2)]
    for fields in rounded:
        fields["action"] = fields["action"].astype(dtype)
        fields["action"][3, 1] = np.nextafter(dtype(1), dtype(2)) + dtype(3e-7)
        fields["action"][4, 2] = -1 - 5e-6
    action = opened(rounded)[0].action
    assert action[3, 1] == 1 and action[4, 2] == -1 and abs(action).max() == 1


def test_actions_beyond_one_are_told_with_enough_digits(opened):
    far = [small(0), small(1)]
    far[0]["action"][2, 3] = 1.0001
    with pytest.raises(DataError, match=r"action: 1\.00010002 at row 2, outside"):
        opened(far)


def shards(folder, parts, names):
    for name, (start, stop) in zip(names, parts, strict=True):
        write_hdf5(folder / name, stream(EPISODES), start, stop)


CUT = [(0, 5), (5, 14), (14, 20), (20, 27)]


@pytest.mark.parametrize(
    "names",
    [
        ["0.hdf5", "1.hdf5", "2.hdf5", "3.hdf5"],
        ["s_8.hdf5", "s_9.hdf5", "s_10.hdf5", "s_11.hdf5"],
        ["s_1_r_93.hdf5", "s_2_r_7.hdf5", "s_3_r_9.hdf5", "s_4_r_8.hdf5"],
    ],
)
def test_parts_of_neighbouring_shards_are_joined(opened, tmp_path, names):
    shards(tmp_path, CUT, names)
    assert_holds(opened(None)[0], EPISODES)
    os.remove(tmp_path / names[1])
    dataset, said = opened(None)
    assert_holds(dataset, EPISODES[2:])
    assert f"{names[0]} row 0: dropped 5 steps of an episode, the shard after " in said
    assert f"{names[2]} row 0: dropped 4 steps of an episode, its beginning is" in said


def test_shards_whose_names_tell_no_order_are_not_joined(opened, tmp_path):
    shards(tmp_path, [(0, 5), (5, 18), (18, 27)], ["a.hdf5", "b.hdf5", "c.hdf5"])
    assert_holds(opened(None)[0], EPISODES[1:])


def test_dropped_parts_are_weighed(opened, tmp_path):
    rare = [small(s, reward=np.zeros(9)) for s in range(3)]
    rare[0]["reward"][3] = 1
    rows = stream(rare)
    write_hdf5(tmp_path / "0.hdf5", rows, 0, 5)
    write_hdf5(tmp_path / "2.hdf5", rows, 9, 27)
    with pytest.raises(DataError, match="what was dropped holds 1 of 1 rew") as caught:
        opened(None)
    assert "0.hdf5 row 0: dropped 5 steps" in str(caught.value)
    assert_holds(opened(None, skip_bad=True)[0], rare[1:])


def test_episodes_of_unusual_length_are_named(opened):
    lengths = [9] * 7 + [5]
    _, said = opened([small(seed, length) for seed, length in enumerate(lengths)])
    assert "1 episodes have another length than 9 entries: 20220101T000007-" in said
    lengths = range(5, 13)
    _, said = opened([small(seed, length) for seed, length in enumerate(lengths)])
    assert "another length" not in said


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_episodes_in_one_whose_beginnings_are_not_marked(opened, tmp_path, suffix):
    parts = [small(seed, 501) for seed in range(3)]
    rows = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    whole = np.arange(3 * 501)
    rows["is_first"], rows["is_last"] = whole == 0, whole == 3 * 501 - 1
    if suffix == ".npz":
        write_folder(tmp_path, [rows])
    else:
        write_hdf5(tmp_path / "0.hdf5", stream([rows]))
    dataset, said = opened(None, "walker_walk")
    assert_holds(dataset, parts)
    assert "3 episodes whose beginnings are not marked, told by their empty" in said
    dataset, said = opened(None)  # of an unknown task it is a doubt
    assert len(dataset.offsets) == 2 and "not marked" not in said


def test_idle_steps_of_a_whole_episode_are_no_beginnings(opened):
    idle = [small(seed, 501) for seed in range(2)]
    for fields in idle:
        fields["action"][40:60] = fields["reward"][40:60] = 0
    assert_holds(opened(idle, "walker_walk")[0], idle)


def test_a_hubs_cache_a_level_up(tmp_path):
    level = "datasets--conglu--vd4rl/snapshots/0a1b/vd4rl/main/walker_walk/random/64px"
    write_folder(tmp_path / "hub" / level, EPISODES)
    dataset = open_dataset(
        tmp_path, "walker_walk", min_length=2, image_size=8, log=print
    )
    assert dataset.spec.level == "random"


def test_how_deep_was_searched_is_said(tmp_path):
    write_folder(tmp_path / "/".join("abcdefghijkl"), EPISODES)
    with pytest.raises(DataError, match="in it or up to 10 folders below"):
        open_dataset(tmp_path, "walker_walk")
