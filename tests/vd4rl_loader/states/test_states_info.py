"""`info` on state vectors."""

import json

import numpy as np
import pytest
from states.layouts import neorl, rows, write_d4rl, write_npz

from vd4rl_loader.__main__ import main

FIELDS = rows([(500, "terminal"), (300, "timeout"), (501, "terminal")], size=11)
RETURNS = [
    float(FIELDS["rewards"][part].astype(np.float64).sum())
    for part in (slice(0, 500), slice(500, 799), slice(800, 1301))
]


@pytest.fixture
def file(tmp_path):
    return str(write_d4rl(tmp_path / "mine.hdf5", FIELDS))


def test_the_table_tells_all(file, capsys):
    assert main(["info", file]) == 0
    shown, log = capsys.readouterr()
    lines = {
        cells[1].strip(): cells[2].strip()
        for cells in (line.split("│") for line in shown.splitlines())
        if len(cells) == 4
    }
    assert "mine.hdf5" in shown
    assert lines["episodes"] == "3"
    assert lines["entries per episode"] == "300 to 502"
    assert lines["steps"] == "1,300"
    assert lines["terminals"] == "2"
    assert lines["states"] == "11 numbers"
    assert lines["actions"].startswith("2 numbers, -1.000 to ")
    assert lines["format"] == "D4RL"
    assert lines["return"].startswith(
        f"{min(RETURNS):.1f} / {np.mean(RETURNS):.1f} / {max(RETURNS):.1f}"
    )
    assert "█" in lines["returns"]
    assert log.startswith("mine.hdf5: 1,300 transitions in 3 episodes; 1 timeout rows")


def test_json_is_the_only_thing_on_standard_output(tmp_path, capsys):
    path = write_npz(tmp_path / "mine.npz", neorl(FIELDS, [500, 800, 1301]))
    assert main(["info", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["format"], shown["vector_size"], shown["action_size"]) == (
        "neorl",
        11,
        2,
    )
    assert (shown["episodes"], shown["steps"], shown["terminals"]) == (3, 1301, 2)
    assert shown["return_max"] == pytest.approx(max(RETURNS))


def test_a_task_of_a_folder(tmp_path, file, capsys):
    write_d4rl(
        tmp_path / "hopper_medium-v2.hdf5", rows([(9, None)], size=11, actions=3)
    )
    arguments = ["info", str(tmp_path), "--task", "hopper-medium", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 9


@pytest.mark.parametrize("option", [["--contact-sheet", "x.png"], ["--level", "x"]])
def test_options_for_images(file, capsys, option):
    assert main(["info", file, *option]) == 2
    assert capsys.readouterr().err == (
        f"error: {file}: holds state vectors, leave out {option[0]}, which is for "
        "datasets of images\n"
    )


def test_bad_files_are_one_line(file, capsys):
    fields = {**FIELDS, "rewards": np.full(1301, np.nan)}
    write_d4rl(file, fields)
    assert main(["info", file]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"error: {file}: rewards: not finite at row 0\n"


def test_minari(tmp_path, capsys, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert main(["info", "minari:none-v0"]) == 2
    assert capsys.readouterr().err == (
        "error: minari:none-v0: no such dataset on this machine: minari download "
        "none-v0\n"
    )
