"""NeoRL's layout: trajectories by index, `done` at the time limit."""

import numpy as np
import pytest
from states.layouts import assert_in_order, neorl, rows, transitions, write_npz

from vd4rl_loader.states import open_states


def opened(tmp_path, fields):
    lines = []
    dataset = open_states(write_npz(tmp_path / "data.npz", fields), log=lines.append)
    assert_in_order(dataset)
    return dataset, lines


ENDS = [(5, "terminal"), (4, None), (6, None)]


@pytest.mark.parametrize("index", [[5, 9, 15], [5, 9], [0, 5, 9], [0, 5, 9, 15]])
def test_every_row_is_a_transition(tmp_path, index):
    """Ends as published, or beginnings: both mark the same places."""
    fields = rows(ENDS)
    dataset, lines = opened(tmp_path, neorl(fields, index))
    found = [np.stack(column) for column in zip(*transitions(dataset), strict=True)]
    names = ("observations", "actions", "rewards", "next_observations", "terminals")
    for column, name in zip(found, names, strict=True):
        np.testing.assert_array_equal(column, fields[name])
    assert dataset.offsets.tolist() == [0, 6, 11, 18]
    assert np.flatnonzero(dataset.is_terminal).tolist() == [5]
    assert dataset.spec.format == "neorl"
    assert lines == ["data.npz: 15 transitions in 3 episodes"]


def test_the_index_cuts_what_looks_continuous(tmp_path):
    fields = rows([(10, None)])
    assert len(opened(tmp_path, neorl(fields, [4, 10]))[0].offsets) == 3


def test_done_and_jumps_cut_without_an_index_entry(tmp_path):
    dataset, lines = opened(tmp_path, neorl(rows(ENDS), [15]))
    assert dataset.offsets.tolist() == [0, 6, 11, 18]
    assert "1 cuts where states do not follow one another" in lines[0]


def test_done_at_the_time_limit_is_a_timeout(tmp_path):
    fields = rows([(1000, "terminal"), (999, "terminal"), (1000, None)])
    dataset, lines = opened(tmp_path, neorl(fields, [1000, 1999, 2999]))
    ends = dataset.offsets[1:] - 1
    assert dataset.is_terminal[ends].tolist() == [False, True, False]
    assert dataset.statistics()["steps"] == 2999  # all next states are true
    assert lines[0].endswith("1 terminals at step 1000 taken for the time limit")
