"""NeoRL's layout: trajectories by index, `done` at the time limit."""

import numpy as np
import pytest
from states.layouts import (
    assert_in_order,
    assert_same,
    neorl,
    rows,
    transitions,
    write_npz,
)

from vd4rl_loader.__main__ import main
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


def neorl2(tmp_path):
    """DMSD's limit is 100; `done` is set where time ran out, too."""
    ends = [(100, "terminal"), (30, "terminal"), (100, None), (20, None)]
    fields = neorl(rows(ends, size=6), [0, 100, 130, 230])
    fields["truncated"] = np.isin(np.arange(250), (99, 249)).astype(float)
    return write_npz(tmp_path / "DMSD-train.npz", fields)


def test_neorl2s_time_limits(tmp_path):
    path = neorl2(tmp_path)
    dataset = open_states(path, log=lambda line: None)
    assert dataset.offsets.tolist() == [0, 101, 132, 233, 254]
    assert np.flatnonzero(dataset.is_terminal).tolist() == [131]
    with np.load(path) as file:
        fields = {name: file[name] for name in file if name != "truncated"}
    write_npz(path, fields)  # without it the task's limit tells
    lines = []
    dataset = open_states(tmp_path, "DMSD-train", log=lines.append)
    assert np.flatnonzero(dataset.is_terminal).tolist() == [131]
    assert "1 terminals at step 100 taken for the time limit" in lines[0]


def test_neorl2_is_converted(tmp_path):
    path = neorl2(tmp_path)
    assert main(["convert", str(path), str(tmp_path / "b.hdf5")]) == 0
    one, other = (
        open_states(source, log=lambda line: None)
        for source in (path, tmp_path / "b.hdf5")
    )
    assert_same(transitions(other), transitions(one))
    np.testing.assert_array_equal(one.offsets, other.offsets)
    assert main(["convert", str(path), str(tmp_path / "c")]) == 2  # vectors: a file
