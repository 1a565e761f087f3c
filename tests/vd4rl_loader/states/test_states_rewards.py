"""The paper's reward transforms."""

import numpy as np
import pytest
from states.layouts import rows, write_d4rl

from vd4rl_loader import DataError
from vd4rl_loader.states import (
    IDENTITY,
    MINUS_ONE,
    open_states,
    return_range_transform,
)


def silent(line):
    pass


def test_the_returns_range_becomes_1000(tmp_path):
    fields = rows([(5, "terminal"), (4, "terminal"), (6, "timeout"), (3, None)])
    path = write_d4rl(tmp_path / "data.hdf5", fields)
    dataset = open_states(path, log=silent)
    transform = return_range_transform(dataset)
    parts = np.split(fields["rewards"].astype(np.float64), [5, 9, 15])
    parts[2] = parts[2][:-1]  # the timeout row
    returns = [part.sum() for part in parts]
    assert transform.scale == pytest.approx(1000 / (max(returns) - min(returns)))
    assert transform.bias == 0
    scaled = [transform(part).sum() for part in parts]
    assert max(scaled) - min(scaled) == pytest.approx(1000)


def test_the_fixed_ones():
    reward = np.array([0, 1], np.float32)
    assert MINUS_ONE(reward).tolist() == [-1, 0]
    assert MINUS_ONE(reward).dtype == np.float32
    assert IDENTITY(reward).tolist() == [0, 1]
    assert MINUS_ONE(1.0) == 0


def test_equal_returns_cannot_be_scaled(tmp_path):
    fields = rows([(5, None), (5, None)])
    fields["rewards"][:] = 1
    dataset = open_states(write_d4rl(tmp_path / "data.hdf5", fields), log=silent)
    with pytest.raises(DataError, match="every episode's return is 5"):
        return_range_transform(dataset)
