"""D4RL's layout: which rows become transitions, and where episodes are cut."""

import numpy as np
import pytest
from states.layouts import (
    assert_in_order,
    assert_same,
    qlearning,
    rows,
    transitions,
    without,
    write_d4rl,
)

from vd4rl_loader.states import open_states

ENDS = [(5, "terminal"), (4, "timeout"), (6, None), (3, "terminal"), (4, None)]


@pytest.fixture
def opened(tmp_path):
    """Opens rows as a file; also gives the lines of the log."""

    def open_rows(fields, skip_bad=False, **options):
        lines = []
        path = write_d4rl(tmp_path / "data.hdf5", fields, **options)
        dataset = open_states(path, skip_bad=skip_bad, log=lines.append)
        assert_in_order(dataset)
        assert dataset.source_bytes == path.stat().st_size
        return dataset, lines

    return open_rows


def test_with_next_observations_only_timeouts_are_dropped(opened):
    fields = rows(ENDS)
    dataset, lines = opened(fields)
    expected = [
        (
            fields["observations"][i],
            fields["actions"][i],
            fields["rewards"][i],
            fields["next_observations"][i],
            fields["terminals"][i],
        )
        for i in range(len(fields["rewards"]))
        if not fields["timeouts"][i]
    ]
    assert_same(transitions(dataset), expected)
    assert np.diff(dataset.offsets).tolist() == [6, 4, 7, 4, 5]
    assert dataset.is_terminal[dataset.offsets[1:] - 1].tolist() == [
        end == "terminal" for _, end in ENDS
    ]
    assert lines == [
        "data.hdf5: 21 transitions in 5 episodes; 1 timeout rows dropped; 1 cuts where "
        "states do not follow one another"
    ]
    assert dataset.spec.format == "d4rl"
    assert (dataset.spec.vector_size, dataset.spec.action_size) == (3, 2)


def test_it_agrees_with_qlearning_dataset_where_that_is_right(opened):
    """It differs at terminals, whose true next states it does not use, and in that it
    leaves out the last row and goes across the ends of broken off episodes."""
    fields = rows([(5, "terminal"), (4, "timeout"), (6, "timeout"), (3, "terminal")])
    dataset, _ = opened(fields)
    theirs = qlearning(fields)
    mine = transitions(dataset)
    assert len(mine) == len(theirs) + 1
    for one, other in zip(mine, theirs, strict=False):
        same = slice(0, 3) if other[4] else slice(0, 5)
        assert_same([one[same]], [other[same]])
        assert one[4] == other[4]


def test_a_timeout_on_a_terminal_row_is_a_terminal(opened):
    fields = rows([(4, "terminal"), (4, "timeout")])
    fields["timeouts"] |= fields["terminals"]
    dataset, _ = opened(fields)
    assert np.flatnonzero(dataset.is_terminal).tolist() == [4]
    assert np.diff(dataset.offsets).tolist() == [5, 4]


@pytest.mark.parametrize(("apart", "episodes"), [(5e-7, 1), (3e-6, 2)])
def test_states_that_differ_by_more_than_the_tolerance_are_a_cut(
    opened, apart, episodes
):
    fields = rows([(8, None)])
    fields["observations"] = fields["observations"].astype(np.float32)
    fields["observations"][4] = 0
    fields["next_observations"][3] = [apart, 0, 0]
    dataset, _ = opened(fields)
    assert len(dataset.offsets) - 1 == episodes


def test_without_next_observations_true_next_states_or_none(opened):
    fields = without(rows(ENDS[:2] + ENDS[3:4] + ENDS[4:]), "next_observations")
    dataset, lines = opened(fields, skip_bad=True)
    assert_same(transitions(dataset), [t for t in qlearning(fields) if not t[4]])
    assert not dataset.is_terminal.any()
    assert np.diff(dataset.offsets).tolist() == [5, 4, 3, 4]
    assert lines == [
        "data.hdf5: 12 transitions in 4 episodes; 1 timeout rows dropped; 2 terminal "
        "rows dropped, their next states are not stored; the last row dropped, its "
        "next state is not stored; the dropped rows hold 2 of 2 terminals"
    ]


@pytest.mark.parametrize("by", ["29 numbers", "infos/goal"])
def test_a_maze_is_not_cut_at_the_goal(opened, by):
    fields = rows([(9, "timeout"), (7, None)], size=29, actions=8)
    if by == "infos/goal":
        fields = rows([(9, "timeout"), (7, None)], size=4)
    fields = without(fields, "next_observations")
    fields["terminals"][[3, 4, 5, 12]] = True
    fields["rewards"] = fields["terminals"].astype(np.float32)
    if by == "infos/goal":
        fields["infos/goal"] = np.zeros((16, 2))
    dataset, lines = opened(fields)
    assert_same(transitions(dataset), qlearning(fields))
    assert np.diff(dataset.offsets).tolist() == [9, 7]
    np.testing.assert_array_equal(dataset.reward, dataset.is_terminal)
    assert np.flatnonzero(dataset.is_terminal).tolist() == [4, 5, 6, 13]
    assert not (dataset.is_terminal & dataset.is_last).any()
    assert "terminal rows" not in lines[0]


def test_a_maze_whose_timeouts_are_out_of_step_is_cut_where_xy_jumps(opened):
    fields = without(
        rows([(6, None), (8, None), (5, None)], size=29, actions=8), "timeouts"
    )
    fields["rewards"] = np.arange(19) % 6 == 2
    fields["rewards"] = fields["rewards"].astype(np.float32)
    fields = without(fields, "next_observations")
    fields["observations"][6:14, :2] += [3, 3]
    fields["observations"][14:, :2] += [0, 20]
    fields["timeouts"] = np.arange(19) == 8  # three rows too late
    dataset, lines = opened(fields)
    expected = [t for i, t in enumerate(qlearning(fields)) if i not in (5, 12)]
    assert_same(transitions(dataset), expected)
    steps = np.linalg.norm(np.diff(dataset.vector[:, :2], axis=0), axis=1)
    assert steps[~dataset.is_first[1:]].max() < 2
    assert "2 rows dropped where xy jumps by more than 2 m" in lines[0]


def test_other_tasks_may_move_by_more_than_two(opened):
    fields = without(rows([(6, None)]), "next_observations")
    fields["observations"] *= 100
    assert len(opened(fields)[0].offsets) == 2


def test_a_maze_with_next_observations_ends_at_terminals(opened):
    fields = rows([(6, "terminal"), (5, "timeout")], size=2)
    dataset, _ = opened({**fields, "infos/goal": np.zeros((11, 2), np.float32)})
    assert np.diff(dataset.offsets).tolist() == [7, 5]
    assert np.flatnonzero(dataset.is_terminal).tolist() == [6]


def test_a_terminal_ends_an_episode_though_the_next_begins_there(opened):
    fields = rows([(8, None)])
    fields["terminals"][3] = True
    fields["timeouts"][6] = True
    dataset, _ = opened(fields)
    assert np.diff(dataset.offsets).tolist() == [5, 3, 2]


def test_an_episode_without_a_transition_vanishes(opened):
    dataset, _ = opened(rows([(3, "timeout"), (1, "timeout"), (4, "terminal")]))
    assert np.diff(dataset.offsets).tolist() == [3, 5]


def test_other_dtypes_shapes_and_storage(opened):
    fields = rows(ENDS)
    columns = {k: fields[k][:, None] for k in ("rewards", "terminals", "timeouts")}
    wide = {
        **{k: v.astype(">f8") for k, v in without(fields, *columns).items()},
        **{k: v.astype("f8") for k, v in columns.items()},
    }
    plain, _ = opened(fields)
    for options in ({}, {"compression": "gzip", "shuffle": True}, {"chunks": True}):
        other, _ = opened(wide, **options)
        assert_same(transitions(other), transitions(plain))
    extra = {"infos/qpos": np.zeros((22, 2)), "metadata/seed": 3}
    assert_same(transitions(opened({**fields, **extra})[0]), transitions(plain))


def test_actions_off_by_rounding_are_clipped(opened):
    fields = rows([(5, None)])
    fields["actions"][2] = [1 + 5e-7, -1 - 5e-7]
    dataset, _ = opened(fields)
    assert dataset.action[3].tolist() == [1, -1]


def test_returns_and_statistics(opened):
    fields = rows(ENDS)
    dataset, _ = opened(fields)
    kept = np.where(fields["timeouts"], 0, fields["rewards"]).astype(np.float64)
    returns = [part.sum() for part in np.split(kept, [5, 9, 15, 18])]
    np.testing.assert_allclose(dataset.returns(), returns, rtol=1e-6)
    numbers = dataset.statistics()
    assert numbers["return_std"] == pytest.approx(np.std(returns))
    assert numbers["return_max"] == pytest.approx(max(returns))
    assert (numbers["episodes"], numbers["steps"], numbers["entries"]) == (5, 21, 26)
    assert (numbers["length_min"], numbers["length_max"]) == (4, 7)
    assert numbers["terminals"] == 2
    assert numbers["bytes"] == 26 * (3 * 4 + 2 * 4 + 4 + 3)
