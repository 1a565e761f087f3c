"""Every broken file is one line that names the file, the field and what is wrong."""

import io
import os
import zipfile

import h5py
import numpy as np
import pytest
from states.layouts import neorl, rows, without, write_d4rl, write_npz

from vd4rl_loader import DataError
from vd4rl_loader.states import open_states

GOOD = rows([(6, "terminal"), (5, "timeout"), (4, None)])
NEORL = neorl(GOOD, [6, 11, 15])


def at(fields, key, index, value):
    array = fields[key].copy()
    array[index] = value
    return {**fields, key: array}


def cast(fields, key, dtype):
    return {**fields, key: fields[key].astype(dtype)}


def error_of(path):
    with pytest.raises(DataError) as caught:
        open_states(path, log=lambda line: None)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


D4RL_DEFECTS = {
    **{
        f"no {key}": (
            without(GOOD, key),
            f"{key}: missing (the file holds {', '.join(sorted(without(GOOD, key)))})",
        )
        for key in ("observations", "actions", "rewards", "terminals", "timeouts")
    },
    "a pixel shard": (
        {"observation": np.zeros((4, 3, 8, 8), "u1"), "action": np.zeros((4, 2))},
        "observations, actions, rewards, terminals, timeouts: missing (the file holds "
        "action, observation): looks like images: give a task of pixels, such as ",
    ),
    "integer observations": (
        cast(GOOD, "observations", int),
        "observations: dtype int64, expected a float type",
    ),
    "boolean actions": (
        cast(GOOD, "actions", bool),
        "actions: dtype bool, expected a float type",
    ),
    "text as rewards": (
        cast(GOOD, "rewards", "S5"),
        "rewards: dtype |S5, expected a float type",
    ),
    "text as terminals": (
        cast(GOOD, "terminals", "S5"),
        "terminals: dtype |S5, expected bool",
    ),
    "flat observations": (
        {**GOOD, "observations": GOOD["observations"][:, 0]},
        "observations: shape (15,), expected [N, D]",
    ),
    "three axes": (
        {**GOOD, "actions": GOOD["actions"][:, None]},
        "actions: shape (15, 1, 2), expected [N, A]",
    ),
    "two rewards a row": (
        {**GOOD, "rewards": GOOD["actions"]},
        "rewards: shape (15, 2), expected [N]",
    ),
    "a single number": (
        {**GOOD, "timeouts": True},
        "timeouts: shape (), expected [N]",
    ),
    "rows missing": (
        {**GOOD, "rewards": GOOD["rewards"][:-1]},
        "rewards: 14 rows where observations has 15",
    ),
    "next observations missing": (
        {**GOOD, "next_observations": GOOD["next_observations"][:9]},
        "next_observations: 9 rows where observations has 15",
    ),
    "other next observations": (
        {**GOOD, "next_observations": GOOD["next_observations"][:, :2]},
        "next_observations: 2 numbers per row, observations have 3",
    ),
    "no rows": (
        {key: value[:0] for key, value in GOOD.items()},
        "observations: holds no entries",
    ),
    "no action": (
        {**GOOD, "actions": np.zeros((15, 0), np.float32)},
        "actions: no numbers per row",
    ),
    "nan observation": (
        at(GOOD, "observations", (7, 1), np.nan),
        "observations: not finite at row 7",
    ),
    "infinite next observation": (
        at(GOOD, "next_observations", (9, 0), -np.inf),
        "next_observations: not finite at row 9",
    ),
    "nan reward": (at(GOOD, "rewards", 3, np.nan), "rewards: not finite at row 3"),
    "too large for float32": (
        at(cast(GOOD, "rewards", "f8"), "rewards", 4, 1e300),
        "rewards: not finite at row 4",
    ),
    "nan action": (at(GOOD, "actions", (2, 0), np.nan), "actions: not finite at row 2"),
    "action outside": (
        at(GOOD, "actions", (5, 1), -1.00002),
        "actions: -1.00002003 at row 5, outside [-1, 1]",  # of float32
    ),
    "flag of two": (
        at(cast(GOOD, "terminals", "f4"), "terminals", 3, 2),
        "terminals: 2 at row 3, expected 0 or 1",
    ),
    "nan flag": (
        at(cast(GOOD, "timeouts", "f4"), "timeouts", 1, np.nan),
        "timeouts: nan at row 1, expected 0 or 1",
    ),
    "two defects": (
        at(at(GOOD, "rewards", 3, np.nan), "actions", (5, 1), 9),
        "actions: 9 at row 5, outside [-1, 1]; rewards: not finite at row 3",
    ),
    "only ends": (
        {**GOOD, "timeouts": np.ones(15, bool), "terminals": np.zeros(15, bool)},
        "no transition is left, every row ends an episode",
    ),
}


@pytest.mark.parametrize("name", D4RL_DEFECTS)
def test_d4rl(tmp_path, name):
    fields, expected = D4RL_DEFECTS[name]
    assert expected in error_of(write_d4rl(tmp_path / "data.hdf5", fields))


NEORL_DEFECTS = {
    "no index": (
        without(NEORL, "index"),
        "index: missing (the file holds obs, next_obs, action, reward, done)",
    ),
    "no obs": (without(NEORL, "obs"), "obs: missing (the file holds "),
    "negative index": (
        {**NEORL, "index": np.array([-1, 6, 15])},
        "index: -1 at row 0, the file has rows 0 to 15",
    ),
    "index beyond": (
        {**NEORL, "index": np.array([6, 16])},
        "index: 16 at row 1, the file has rows 0 to 15",
    ),
    "unsorted index": (
        {**NEORL, "index": np.array([6, 15, 11])},
        "index: 11 follows 15 at row 2",
    ),
    "repeated index": (
        {**NEORL, "index": np.array([6, 6, 15])},
        "index: 6 follows 6 at row 1",
    ),
    "float index": (
        {**NEORL, "index": np.array([6.0, 15.0])},
        "index: dtype float64, expected an integer type",
    ),
    "table index": (
        {**NEORL, "index": np.array([[6, 11], [12, 15]])},
        "index: shape (2, 2), expected [K]",
    ),
    "empty index": ({**NEORL, "index": np.array([], int)}, "index: holds no entries"),
    "pickled index": (
        {**NEORL, "index": np.array([6, None])},
        "index: dtype object, expected a number type",
    ),
    "pickled rewards": (
        {**NEORL, "reward": NEORL["reward"].astype(object)},
        "reward: dtype object, expected a float type",
    ),
    "other next states": (
        {**NEORL, "next_obs": NEORL["next_obs"][:, :1]},
        "next_obs: 1 numbers per row, obs has 3",
    ),
    "nan": (at(NEORL, "obs", (4, 0), np.nan), "obs: not finite at row 4"),
    "action outside": (
        at(NEORL, "action", (4, 0), 1.5),
        "action: 1.5 at row 4, outside [-1, 1]",
    ),
    "done of three": (
        at(NEORL, "done", (4, 0), 3),
        "done: 3 at row 4, expected 0 or 1",
    ),
    "rows missing": (
        {**NEORL, "done": NEORL["done"][:-1]},
        "done: 14 rows where obs has 15",
    ),
}


@pytest.mark.parametrize("name", NEORL_DEFECTS)
def test_neorl(tmp_path, name):
    fields, expected = NEORL_DEFECTS[name]
    assert expected in error_of(write_npz(tmp_path / "data.npz", fields))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK", "cannot be read, truncated or damaged ("),
        (b"\x89HDF\r\n\x1a\n", "cannot be read, truncated or damaged ("),
        (b"hello" * 99, "neither a HDF5 file nor a .npz file"),
    ],
)
def test_other_files(tmp_path, content, said):
    path = tmp_path / "data.hdf5"
    path.write_bytes(content)
    assert error_of(path).startswith(said)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_files(tmp_path, share):
    big = rows([(500, None)])
    paths = [
        write_d4rl(tmp_path / "data.hdf5", big),
        write_npz(tmp_path / "data.npz", neorl(big, [500])),
    ]
    for path in paths:
        os.truncate(path, int(path.stat().st_size * share))
        assert "truncated or damaged" in error_of(path)


def test_damaged_content(tmp_path):
    path = write_d4rl(tmp_path / "data.hdf5", GOOD, compression="gzip", fletcher32=True)
    with h5py.File(path) as file:
        chunk = file["actions"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 5] ^= 255
    path.write_bytes(content)
    assert error_of(path).startswith("actions: cannot be read, truncated or damaged")

    path = write_npz(tmp_path / "data.npz", NEORL)
    content = bytearray(path.read_bytes())
    content[content.index(NEORL["obs"].tobytes()) + 5] ^= 255
    path.write_bytes(content)
    assert error_of(path).startswith("obs: cannot be read, truncated or damaged")


@pytest.mark.parametrize("kind", ["external", "soft", "dangling"])
def test_links_are_not_followed(tmp_path, kind):
    other = write_d4rl(tmp_path / "other.hdf5", GOOD)
    path = write_d4rl(tmp_path / "data.hdf5", without(GOOD, "rewards"))
    with h5py.File(path, "a") as file:
        file["elsewhere"] = GOOD["rewards"]
        file["rewards"] = {
            "external": h5py.ExternalLink(str(other), "rewards"),
            "soft": h5py.SoftLink("/elsewhere"),
            "dangling": h5py.SoftLink("/nowhere"),
        }[kind]
    assert error_of(path) == "rewards: is a link, expected the array itself"


def test_a_linked_goal_is_not_looked_at(tmp_path):
    other = write_d4rl(tmp_path / "other.hdf5", {"goal": np.zeros((15, 2))})
    fields = without(GOOD, "next_observations")
    path = write_d4rl(tmp_path / "data.hdf5", fields)
    with h5py.File(path, "a") as file:
        file["infos"] = h5py.ExternalLink(str(other), "/")
    dataset = open_states(path, skip_bad=True, log=lambda line: None)
    assert not dataset.is_terminal.any()


def test_numbers_in_other_files(tmp_path):
    path = write_d4rl(tmp_path / "data.hdf5", without(GOOD, "rewards", "actions"))
    (tmp_path / "raw").write_bytes(bytes(60))
    layout = h5py.VirtualLayout((15, 2), "f4")
    layout[:] = h5py.VirtualSource(path, "elsewhere", (15, 2))
    with h5py.File(path, "a") as file:
        file.create_dataset(
            "rewards", (15,), "f4", external=[(str(tmp_path / "raw"), 0, 60)]
        )
        file.create_virtual_dataset("actions", layout)
    assert error_of(path) == (
        "actions: its numbers lie in other files; "
        "rewards: its numbers lie in other files"
    )


@pytest.mark.parametrize("options", [{}, {"chunks": (5,), "compression": "gzip"}])
def test_declared_but_never_written(tmp_path, options):
    path = write_d4rl(tmp_path / "data.hdf5", without(GOOD, "rewards"))
    with h5py.File(path, "a") as file:
        rewards = file.create_dataset("rewards", (15,), "f4", **options)
        if options:
            rewards[:10] = GOOD["rewards"][:10]
    assert "rewards: declares 60 bytes, of which only" in error_of(path)


def test_more_than_the_memory_is_refused_before_reading(tmp_path):
    path = tmp_path / "data.hdf5"
    with h5py.File(path, "w") as file:
        for key, values in GOOD.items():
            shape = (10**13, *values.shape[1:])
            file.create_dataset(key, shape, values.dtype, chunks=True)
    assert "reading it needs 1,140,000.0 GB of memory, this" in error_of(path)


def header(shape, dtype="<f8"):
    stream = io.BytesIO()
    description = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (header((10**9, 3)) + bytes(360), "obs: declares 24,000,000,000 bytes, its "),
        (header((15, 3)), "obs: declares 360 bytes, its member has 0"),
        (header((15, 3)) + bytes(400), "obs: declares 360 bytes, its member has 400"),
        (b"\x93NUMPY\x01\x00\xff", "obs: cannot be read, truncated or damaged ("),
        (b"\x93NUMPY\x09\x00" + bytes(99), "obs: is of .npy version 9.0, which only"),
        (b"", "obs: cannot be read, truncated or damaged ("),
    ],
)
def test_npz_headers(tmp_path, member, expected):
    path = write_npz(tmp_path / "data.npz", without(NEORL, "obs"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("obs.npy", member)
    assert error_of(path).startswith(expected)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trapped = {**NEORL, "extra": np.array([Trap()]), "obs": np.array([Trap()])}
    error_of(write_npz(tmp_path / "data.npz", trapped))
    extra = {**NEORL, "extra": np.array([Trap()])}
    open_states(write_npz(tmp_path / "data.npz", extra), log=lambda line: None)
    assert not (tmp_path / "sprung").exists()
