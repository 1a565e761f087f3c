"""`info` says of other projects' data what they are, and commands that convert them."""

import json
import shlex

import h5py
import numpy as np
import pytest
from foreign import test_dreamerv3 as dreamerv3
from foreign import test_robomimic as robomimic

from vd4rl_loader import open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states


def lerobots(folder):
    pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")
    from foreign import test_lerobot

    return test_lerobot.write_with_pictures(folder / "my lerobot")


MADE = {
    "LeRobot": lerobots,
    "robomimic": lambda folder: robomimic.write(folder / "my file.hdf5"),
    "DreamerV3": lambda folder: dreamerv3.write(
        folder / "my replay", dreamerv3.rows([5, 3]), [6]
    ),
}


@pytest.mark.parametrize("project", MADE)
def test_its_commands_work(tmp_path, monkeypatch, project, capsys):
    path = MADE[project](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["info", path.name]) == 0
    said = capsys.readouterr().out
    assert project in said
    assert main(["info", path.name, "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert len(held["convert"]) == 2
    for command in held["convert"]:
        assert command in said
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "vd4rl_loader"]
        assert main(words[3:]) == 0
    opened = open_dataset(f"{path.stem}-converted", min_length=2, log=print)
    states = open_states(f"{path.stem}-converted.hdf5", log=print)
    np.testing.assert_array_equal(opened.action, states.action)
    np.testing.assert_array_equal(opened.offsets, states.offsets)


def test_several_in_a_folder(tmp_path, capsys):
    dreamerv3.write(tmp_path / "replay", dreamerv3.rows([5, 3]), [6])
    assert main(["info", str(tmp_path)]) == 0
    robomimic.write(tmp_path / "a.hdf5")
    for command in (["info"], ["convert", str(tmp_path / "b")]):
        assert main([command[0], str(tmp_path), *command[1:]]) == 2
        said = capsys.readouterr().err
        assert "holds DreamerV3's replay and a.hdf5: give the file or folder" in said
    assert main(["info", str(tmp_path / "replay")]) == 0


def test_discrete_actions_of_a_replay(tmp_path, capsys):
    rows = dreamerv3.rows([5, 3])
    rows["action"] = np.zeros(8, np.int32)
    replay = dreamerv3.write(tmp_path / "replay", rows, [6])
    for command in (["info"], ["convert", str(tmp_path / "b")]):
        assert main([command[0], str(replay), *command[1:]]) == 2
        assert "one number (int32) per row, discrete" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["traj_0/actions"], "looks like ManiSkill's: write_dataset makes data"),
        (["image", "action"], "its content is one: rename it to a.hdf5"),
    ],
)
def test_files_of_other_names(tmp_path, names, expected, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in names:
            file[name] = np.zeros((3, 2))
    for command in (["info"], ["convert", str(tmp_path / "b")]):
        assert main([command[0], str(tmp_path / "a.h5"), *command[1:]]) == 2
        said = capsys.readouterr().err
        assert f"neither a .npz nor a .hdf5 file: {expected}" in said
    (tmp_path / "a.h5").write_text("text")
    assert main(["info", str(tmp_path / "a.h5")]) == 2
    assert capsys.readouterr().err.endswith("nor a .hdf5 file\n")


def test_robomimics_file_of_another_suffix(tmp_path, capsys):
    path = robomimic.write(tmp_path / "a.h5")
    assert main(["info", str(path)]) == 0
    assert "robomimic's HDF5" in capsys.readouterr().out


def test_what_is_nobodys(tmp_path, capsys):
    path = tmp_path / "a.npz"
    np.savez(path, image=np.zeros(3))
    assert main(["convert", str(path), str(tmp_path / "b"), "--reward", "last"]) == 2
    said = capsys.readouterr().err
    assert "--reward: is for data of other projects, but" in said
    assert "does not look like robomimic's HDF5" in said
    replay = dreamerv3.write(tmp_path / "replay", dreamerv3.rows([5, 3]), [6])
    refused = ["convert", str(replay), str(tmp_path / "b"), "--alignment", "arrival"]
    assert main(refused) == 2
    assert "has one order, leave it out" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine").touch()
    assert main(["convert", str(replay), str(tmp_path / "b")]) == 2
    assert "exists already" in capsys.readouterr().err
