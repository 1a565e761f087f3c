"""Files that are something else are told for what they are, with a way on."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from states.layouts import rows, write_d4rl
from vd4rl_files import episode, stream, write_folder, write_hdf5, write_npz

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000000\n"
OTHERS = {
    "a Git LFS pointer": (POINTER, "is a Git LFS pointer, not the data: run git lfs"),
    "a git-annex pointer": (b"/annex/objects/MD5E-s3", "is a git-annex pointer, not"),
    "a web page": (b"<!DOCTYPE html>\n<html>", "is a web page, not the data: downl"),
    "an error's JSON": (b'{"error": "denied"}', "is JSON, not the data: download it"),
    "a compressed file": (b"\x1f\x8b\x08\0" + bytes(9), "is compressed by gzip: gunz"),
    "a pickle": (b"\x80\x04\x95", "is a pickle, which may run code: it is never read"),
    "a single array": (b"\x93NUMPY\x01\0", "is a single array (.npy), not an .npz"),
    "nothing": (b"", "is empty: download it again, or write it again"),
    "zeros": (bytes(4096), "holds zeros: its download or copy broke off, repeat it"),
    "a newer HDF5": (b"\x89HDF\r\n\x1a\n\x04", "is of a newer HDF5 version: pip"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_what_stands_in_a_files_place(tmp_path, name, suffix, capsys):
    content, said = OTHERS[name]
    path = tmp_path / f"data{suffix}"
    path.write_bytes(content)
    if name != "a newer HDF5" or suffix == ".hdf5":
        with pytest.raises(DataError, match=r"data\.") as pixels:
            open_dataset(path, log=lambda line: None)
        assert said in str(pixels.value)
    with pytest.raises(DataError) as states:
        open_states(path)
    assert said in str(states.value)
    assert main(["info", str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_each_kind_under_the_others_suffix(tmp_path):
    write_npz(tmp_path / "a.npz", episode(0)).rename(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match=r"is a \.npz file: give it the suffix \.npz"):
        open_dataset(tmp_path / "a.hdf5", log=lambda line: None)
    write_hdf5(tmp_path / "b.hdf5", stream([episode(0)])).rename(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"is an HDF5 file: give it the suffix \.hdf5"):
        open_dataset(tmp_path / "b.npz", log=lambda line: None)
    (tmp_path / "b.npz").rename(tmp_path / "c.hdf5")  # as it says
    assert len(open_dataset(tmp_path / "c.hdf5", log=lambda line: None).offsets) == 2


def test_a_file_that_another_program_writes(tmp_path):
    path = write_d4rl(tmp_path / "data.hdf5", rows([(9, "timeout")]))
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print('x', flush=True)"
    command = [sys.executable, "-c", f"{code}; sys.stdin.read()", str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as writer:
        writer.stdout.readline()
        info = [sys.executable, "-m", "vd4rl_loader", "info", str(path)]
        refused = subprocess.run(info, capture_output=True, text=True)
        without_locks = {**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"}
        advised = subprocess.run(info, env=without_locks, capture_output=True)
        writer.stdin.close()
    assert refused.returncode == 2
    assert "is open in another program that writes it: close" in refused.stderr
    assert "HDF5_USE_FILE_LOCKING=FALSE" in refused.stderr
    assert advised.returncode == 0
    assert subprocess.run(info, capture_output=True).returncode == 0


def group(path, arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


S, A = np.zeros((4, 3), "f4"), np.zeros((4, 2), "f4")
PROJECTS = {
    "robomimic": {"data/demo_0/actions": A, "data/demo_0/obs/object": S, "mask/x": [0]},
    "Minari": {"episode_0/observations": S, "episode_0/actions": A},
    "ManiSkill": {"traj_0/obs": S, "traj_0/actions": A},
    "ALOHA": {"observations/qpos": S, "action": A},
}


@pytest.mark.parametrize("project", PROJECTS)
def test_files_of_other_projects(tmp_path, project, capsys):
    path = group(tmp_path / "data.hdf5", PROJECTS[project])
    with pytest.raises(DataError, match=f"looks like {project}'s: ") as refused:
        open_states(path)
    assert "groups" in str(refused.value)
    if "vd4rl_loader info FILE" in str(refused.value):  # which knows a way
        assert main(["info", str(path)]) == 0
        assert project in capsys.readouterr().out
    else:
        assert main(["info", str(path)]) == 2
        assert f"looks like {project}'s: " in capsys.readouterr().err


def test_ogbenchs_files(tmp_path):
    fields = {"observations": S, "actions": A, "terminals": np.zeros(4)}
    path = write_npz(tmp_path / "antmaze-large-navigate-v0.npz", fields)
    with pytest.raises(DataError, match="looks like OGBench's, which has no rewards"):
        open_states(path)
    fields["observations"] = np.zeros((4, 8, 8, 3), "u1")
    path = write_npz(tmp_path / "visual-cube-single-play-v0.npz", fields)
    with pytest.raises(DataError, match="its observations are images, looks like OGB"):
        open_states(path)


def test_a_table_without_timeouts(tmp_path):
    fields = rows([(9, "terminal"), (7, "terminal")])
    without = {name: fields[name] for name in fields if name != "timeouts"}
    path = write_d4rl(tmp_path / "a.hdf5", without)
    with pytest.raises(DataError, match="store zeros if nobody knows them"):
        open_states(path)
    write_d4rl(path, {**without, "timeouts": np.zeros(16, bool)})
    assert open_states(path, log=lambda line: None).is_terminal.sum() == 2


def test_arrays_without_names(tmp_path):
    np.savez(tmp_path / "data.npz", S, A)
    with pytest.raises(DataError, match="its arrays have no names: save them"):
        open_dataset(tmp_path / "data.npz", log=lambda line: None)


def test_states_where_pixels_are_meant_and_the_other_way(tmp_path):
    states = write_d4rl(tmp_path / "s.hdf5", rows([(9, "timeout")]))
    with pytest.raises(DataError, match="give a task of states, such as --configs d4"):
        open_dataset(states, log=lambda line: None)
    (pixels,) = write_folder(tmp_path, [episode(0)])
    with pytest.raises(DataError, match="give a task of pixels, such as --configs vd"):
        open_states(pixels)


def test_d4rls_layout_in_an_npz(tmp_path):
    fields = rows([(9, "terminal"), (7, "timeout")])
    one = open_states(write_d4rl(tmp_path / "a.hdf5", fields), log=lambda line: None)
    other = open_states(write_npz(tmp_path / "a.npz", fields), log=lambda line: None)
    np.testing.assert_array_equal(one.vector, other.vector)
    assert main(["info", str(tmp_path / "a.npz")]) == 0
