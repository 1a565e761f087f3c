"""No transition across a reset, whoever recorded the data and however it is marked."""

import numpy as np
import pytest
from states.layouts import (
    assert_in_order,
    neorl,
    transitions,
    without,
    write_d4rl,
    write_npz,
)

from vd4rl_loader import DataError
from vd4rl_loader.states import open_states

STEP = 0.1


def walks(lengths, seed=0, size=11, actions=3):
    """Random walks from about zero: states [T + 1, D] and actions [T, A] of each."""
    rng = np.random.default_rng(seed)
    parts = []
    for length in lengths:
        steps = np.cumsum(rng.normal(0, STEP, (length, size)), axis=0)
        states = np.concatenate([np.zeros((1, size)), steps]) + rng.normal(0, 0.01)
        action = rng.uniform(-1, 1, (length, actions))
        parts.append((states.astype("f4"), action.astype("f4")))
    return parts


def table(parts, terminal=(), timeout=()):
    """D4RL's rows; `terminal` and `timeout` are numbers of episodes."""
    ends = np.cumsum([len(action) for _, action in parts]) - 1
    fields = {
        "observations": np.concatenate([states[:-1] for states, _ in parts]),
        "next_observations": np.concatenate([states[1:] for states, _ in parts]),
        "actions": np.concatenate([action for _, action in parts]),
        "terminals": np.zeros(ends[-1] + 1, bool),
        "timeouts": np.zeros(ends[-1] + 1, bool),
    }
    fields["rewards"] = fields["observations"][:, 0] + 1
    fields["terminals"][ends[list(terminal)]] = True
    fields["timeouts"][ends[list(timeout)]] = True
    return fields


def resets_in_the_next_row(fields, parts):
    """As Gymnasium's vector environments store it: a row from the end to the start."""
    ends = np.cumsum([len(action) for _, action in parts])
    starts = np.stack([states[0] for states, _ in [*parts[1:], parts[0]]])
    last = np.stack([states[-1] for states, _ in parts])
    extra = {"observations": last, "next_observations": starts}
    return {
        name: np.insert(column, ends, extra.get(name, np.zeros((), column.dtype)), 0)
        for name, column in fields.items()
    }


@pytest.fixture
def opened(tmp_path):
    def open_rows(fields, task=None, skip_bad=False):
        lines = []
        path = write_d4rl(tmp_path / "data.hdf5", fields)
        dataset = open_states(path, task, skip_bad, log=lines.append)
        assert_in_order(dataset)
        return dataset, lines[0]

    return open_rows


def refused(opened, fields, task=None):
    with pytest.raises(DataError) as caught:
        opened(fields, task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def longest_step(dataset):
    steps = np.linalg.norm(np.diff(dataset.vector, axis=0), axis=1)
    return steps[~dataset.is_first[1:]].max()


WALKS = walks([30, 40, 50, 20])


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("lengths", [[30, 40, 50, 20], [12] * 30, [300, 500]])
def test_a_simulator_that_resets_in_the_next_row(opened, lengths, stored):
    parts = walks(lengths)
    fields = table(parts, terminal=range(len(parts)))
    plain = [t for t in transitions(opened(fields)[0])]
    fields = resets_in_the_next_row(fields, parts)
    if not stored:
        fields = without(fields, "next_observations")
    dataset, said = opened(fields)
    assert f"{len(parts)} rows dropped that are only resets" in said
    assert longest_step(dataset) < 10 * STEP
    found = transitions(dataset)
    assert len(found) == len(plain)
    for one, other in zip(found, plain, strict=True):
        for value, true in zip(one, other, strict=True):
            np.testing.assert_array_equal(value, true)


@pytest.mark.parametrize("lengths", [[30, 40, 50, 20], [8] * 30, [300, 500, 200]])
def test_a_simulator_that_stores_the_next_start_as_the_end(opened, lengths):
    parts = walks(lengths)
    fields = table(parts, terminal=range(len(parts)))
    ends = np.flatnonzero(fields["terminals"])
    fields["next_observations"][ends[:-1]] = fields["observations"][ends[:-1] + 1]
    count = len(parts) - 1
    said = refused(opened, fields)
    assert f"the dropped rows hold {count} of {count + 1} terminals" in said
    assert "--data.skip_bad (training) or --skip-bad (info" in said
    dataset, said = opened(fields, skip_bad=True)
    assert f"{count} ends dropped, whose next states are other episodes'" in said
    assert longest_step(dataset) < 10 * STEP
    assert np.diff(dataset.offsets).tolist() == [*lengths[:-1], lengths[-1] + 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_task_that_goes_on_after_a_goal_is_left_as_it_is(opened, seed):
    fields = table(walks([400, 300], seed), timeout=[0, 1])
    fields["terminals"][[50, 51, 52, 90, 200, 300, 450]] = True
    dataset, said = opened(fields)
    assert "dropped, whose" not in said and "resets" not in said
    assert dataset.is_terminal.sum() == 7


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize(
    ("lengths", "marked"),
    [([1000] * 3, []), ([1000] * 3, [0]), ([1000, 400, 1000], [0, 2]), ([150] * 9, [])],
)
def test_resets_that_are_not_marked(opened, lengths, marked, stored):
    """Time limits without flags; files joined in the middle of an episode."""
    fields = table(walks(lengths, size=17, actions=6), timeout=marked)
    shifted = np.roll(fields["observations"], -1, axis=0)
    fields["next_observations"] = shifted
    if not stored:
        fields = without(fields, "next_observations")
    dataset, said = opened(fields)
    unmarked = len(lengths) - 1 - len({*marked} - {len(lengths) - 1})
    unmarked += stored and len(lengths) - 1 not in marked  # shifted: to the first row
    assert f"{unmarked} rows dropped that lead across resets which are not" in said
    assert len(dataset.offsets) - 1 == len(lengths)
    assert longest_step(dataset) < 10 * STEP * 17**0.5


def test_resets_that_look_like_steps_are_found_at_the_time_limit(opened):
    """HalfCheetah runs through its first pose: no step tells a reset."""
    rng = np.random.default_rng(0)
    states = rng.normal(0, 1, (3000, 17)).astype("f4")
    states[::1000] = rng.normal(0, 0.01, (3, 17))
    fields = {
        "observations": states,
        "actions": rng.uniform(-1, 1, (3000, 6)).astype("f4"),
        "rewards": rng.normal(1, 1, 3000).astype("f4"),
        "terminals": np.zeros(3000, bool),
        "timeouts": np.zeros(3000, bool),
    }
    dataset, said = opened(fields)
    assert "2 rows dropped at the time limit of 1000 steps, not marked" in said
    assert np.diff(dataset.offsets).tolist() == [1000] * 3
    fields["observations"] = np.delete(states, slice(500, 900), axis=0)
    fields = {name: column[:2600] for name, column in fields.items()}
    _, said = opened(fields)  # a piece is missing: no one knows where
    assert "episodes are longer than the task's limit of 1,000 steps (rows 0 to" in said


def test_what_is_only_likely_is_said_with_rows_and_numbers(opened):
    fields = table(walks([300]), timeout=[0])
    usual = np.quantile(np.abs(np.diff(fields["observations"], axis=0)), 0.9)
    fields["observations"][200:] += 4 * usual
    fields = without(fields, "next_observations")
    dataset, said = opened(fields)
    assert "1 rows lead 3." in said or "1 rows lead 4." in said
    assert "times as far as usual ones (rows 199): if they are resets, mark" in said
    assert len(dataset.offsets) == 2


def test_numbers_that_seldom_change_make_no_reset(opened):
    """A button, an object that is rarely touched, a goal that changes."""
    fields = table(walks([400]), timeout=[0])
    fields["observations"][:, 8:] = 0
    for row in (100, 200, 300):
        fields["observations"][row:, 8:] += 50
    fields = without(fields, "next_observations")
    dataset, said = opened(fields)
    assert len(dataset.offsets) == 2 and "reset" not in said


LIMITS = walks([1000, 1000, 300], size=17, actions=6)


@pytest.mark.parametrize("layout", ["D4RL", "NeoRL"])
def test_a_time_limit_stored_as_a_terminal_is_none(tmp_path, layout):
    fields, lines = table(LIMITS, terminal=[0, 1, 2]), []
    if layout == "D4RL":
        path = write_d4rl(tmp_path / "data.hdf5", fields)
    else:
        path = write_npz(tmp_path / "data.npz", neorl(fields, [1000, 2000, 2300]))
    dataset = open_states(path, log=lines.append)
    assert "2 terminals at step 1000 taken for the time limit" in lines[0]
    ends = dataset.offsets[1:] - 1
    assert dataset.is_terminal[ends].tolist() == [False, False, True]


def test_a_task_that_never_ends_has_no_terminals(opened):
    fields = table(LIMITS, terminal=[0, 1, 2])
    dataset, said = opened(fields, "halfcheetah-medium")
    assert "1 terminals before step 1000, but halfcheetah never ends: taken" in said
    assert not dataset.is_terminal.any()
    assert opened(fields, "walker2d-medium")[0].is_terminal.sum() == 1


def test_a_task_that_never_ends_but_does_is_another_tasks_file(opened):
    parts = walks([30] * 5, size=17, actions=6)
    fields = table(parts, terminal=range(5))
    said = refused(opened, fields, "halfcheetah-random")
    assert (
        "5 terminals before step 1000, but halfcheetah never ends: is it another"
        in (said)
    )
    assert not opened(fields, "halfcheetah-random", True)[0].is_terminal.any()


def test_equal_ends_of_an_unknown_task_are_said(opened):
    fields = table(walks([200] * 4, size=5), terminal=range(4))
    dataset, said = opened(fields)
    assert "all 4 terminals are at step 200, no episode is longer: if that" in said
    assert dataset.is_terminal.sum() == 4


def test_states_of_another_task_of_the_same_sizes_are_doubted(opened):
    fields = table(LIMITS, timeout=[0, 1, 2])
    doubt = "would have ended in 2,300 of 2,300 states (number 0 is outside of 0.8"
    fields["observations"][:, 0] = 0
    fields["next_observations"][:, 0] = 0
    assert (
        f"walker2d {doubt} to 2.0): is it another"
        in opened(fields, "walker2d-medium")[1]
    )
    fields["observations"][:, 0] = 1.2
    fields["next_observations"][:, 0] = 1.2
    assert "would have ended" not in opened(fields, "walker2d-medium")[1]
    named_by_no_one = table(walks([40, 30]), timeout=[0, 1])  # of hopper's sizes
    assert "would have ended" not in opened(named_by_no_one)[1]


def test_rows_of_environments_that_take_turns(opened):
    one, other = (table(walks([60], seed), timeout=[0]) for seed in range(2))
    fields = {k: np.stack([one[k], other[k]], 1) for k in one}
    fields = {k: v.reshape(120, *v.shape[2:]) for k, v in fields.items()}
    _, said = opened(fields)
    assert "do not follow one another: are rows of several environments mixed?" in said


def ant(reach=8.0, episodes=8, steps=60):
    """A maze's file that was reset at the goal: the row that gets there is the last."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(episodes):
        state = rng.normal(0, 0.1, (steps, 29)).astype("f4")
        state[:, 1] = np.linspace(0, reach, steps)
        parts.append(state)
    last = np.tile(np.arange(steps) == steps - 1, episodes)
    return {
        "observations": np.concatenate(parts),
        "actions": rng.uniform(-1, 1, (episodes * steps, 8)).astype("f4"),
        "rewards": last.astype("f4"),
        "terminals": last,
        "timeouts": np.zeros(len(last), bool),
    }


def test_what_is_dropped_is_weighed(opened):
    fields = ant()
    said = refused(opened, fields)
    assert "the dropped rows hold 8 of 8 rewards; " in said
    assert "the dropped rows hold 8 of 8 terminals (read as AntMaze; 7 rows" in said
    dataset, said = opened(fields, skip_bad=True)
    assert not dataset.reward.any()
    assert "the dropped rows hold 8 of 8 rewards" in said


@pytest.mark.parametrize("other", ["actions", "rewards"])
def test_what_has_29_numbers_need_not_be_an_ant_in_a_maze(opened, other):
    fields = ant(reach=0.5)
    if other == "actions":
        fields["actions"] = fields["actions"][:, :7]
    else:
        fields["rewards"] = np.linspace(0, 1, len(fields["rewards"])).astype("f4")
    dataset, said = opened(fields, skip_bad=True)
    assert "AntMaze" not in said
    assert len(dataset.offsets) - 1 == 8  # a fall ends the episode
    assert "8 terminal rows dropped, their next states" in said or "7 terminal" in said
