"""Data of other projects that no reader takes: recognised by their folders."""

import json

import pytest

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.states import open_states


def test_lerobots_folder(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "data/chunk-000").mkdir(parents=True)
    (tmp_path / "meta/info.json").write_text(json.dumps({"codebase_version": "v3.0"}))
    for opened in (open_dataset, open_states):
        with pytest.raises(DataError, match="looks like LeRobot's: python -m vd4rl_lo"):
            opened(tmp_path)
