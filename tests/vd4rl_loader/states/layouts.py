"""Writes D4RL's and NeoRL's files from their description, independently of the loader.

Also the readers' rules, once more, as slow loops.
"""

import h5py
import numpy as np


def rows(ends, seed=0, size=3, actions=2):
    """Rows of episodes: `ends` has (number of rows, "terminal" | "timeout" | None).

    An episode of T rows visits T + 1 states; with None the episode is broken off.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for length, end in ends:
        # Slow enough that a maze's xy never jumps inside an episode.
        states = rng.uniform(-0.5, 0.5, (length + 1, size)).astype(np.float32)
        flags = np.zeros((2, length), bool)
        flags[0, -1], flags[1, -1] = end == "terminal", end == "timeout"
        parts.append(
            {
                "observations": states[:-1],
                "actions": rng.uniform(-1, 1, (length, actions)).astype(np.float32),
                "next_observations": states[1:],
                "rewards": rng.normal(1, 1, length).astype(np.float32),
                "terminals": flags[0],
                "timeouts": flags[1],
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def without(fields, *keys):
    return {name: value for name, value in fields.items() if name not in keys}


def write_d4rl(path, fields, **options):
    with h5py.File(path, "w") as file:
        for key, values in fields.items():
            file.create_dataset(key, data=values, **options)
    return path


def neorl(fields, index):
    """The arrays of a NeoRL file, with its names, shapes and dtypes."""
    return {
        "obs": fields["observations"],
        "next_obs": fields["next_observations"],
        "action": fields["actions"],
        "reward": fields["rewards"][:, None].astype(np.float64),
        "done": fields["terminals"][:, None].astype(np.float64),
        "index": np.asarray(index),
    }


def write_npz(path, fields):
    np.savez(path, **fields)
    return path


def qlearning(fields):
    """D4RL's documented `qlearning_dataset`: (s, a, r, s', done) per kept row.

    The next row's observation is the next state; rows with a timeout and the last row
    are left out.
    """
    kept = []
    for i in range(len(fields["rewards"]) - 1):
        if not fields["timeouts"][i]:
            kept.append(
                (
                    fields["observations"][i],
                    fields["actions"][i],
                    fields["rewards"][i],
                    fields["observations"][i + 1],
                    bool(fields["terminals"][i]),
                )
            )
    return kept


def transitions(dataset):
    """All valid transitions of a dataset in arrival order: (s, a, r, s', done)."""
    return [
        (
            dataset.vector[t - 1],
            dataset.action[t],
            dataset.reward[t],
            dataset.vector[t],
            bool(dataset.is_terminal[t]),
        )
        for t in range(1, len(dataset.reward))
        if not dataset.is_first[t]
    ]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for value, true in zip(one, other, strict=True):
            np.testing.assert_array_equal(value, true)


def assert_in_order(dataset):
    """Dtypes, flags and offsets agree, and nothing leads into a first entry."""
    assert dataset.vector.dtype == dataset.action.dtype == np.float32
    assert dataset.reward.dtype == np.float32
    assert dataset.offsets.dtype == np.int64
    count, ends = len(dataset.reward), dataset.offsets
    assert ends[0] == 0 and ends[-1] == count and (np.diff(ends) >= 2).all()
    np.testing.assert_array_equal(np.flatnonzero(dataset.is_first), ends[:-1])
    np.testing.assert_array_equal(np.flatnonzero(dataset.is_last), ends[1:] - 1)
    firsts = dataset.is_first
    assert not dataset.action[firsts].any() and not dataset.reward[firsts].any()
    assert not dataset.is_terminal[firsts].any()
    assert len(dataset.vector) == len(dataset.action) == len(dataset.is_last) == count
