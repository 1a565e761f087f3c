"""Pixel files that were made to do harm are refused before anything is read."""

import json
import os
import zipfile

import h5py
import numpy as np
import pytest
from rich.text import Text
from vd4rl_files import episode, stream, write_folder, write_hdf5, write_npz

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.info import histogram

GOOD = episode(0, length=9, size=8)


def refusal(path):
    with pytest.raises(DataError) as caught:
        open_dataset(path, image_size=8, min_length=2, log=lambda line: None)
    return str(caught.value)


def with_member(path, member):
    write_npz(path, {k: v for k, v in GOOD.items() if k != "reward"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("reward.npy", member)


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    member = b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1 << 24)
    with_member(tmp_path / "bad.npz", member)
    assert "reward: cannot be read, truncated or damaged (EOF" in refusal(tmp_path)


def test_an_unclosed_header_is_damage(tmp_path):
    with_member(tmp_path / "bad.npz", b"\x93NUMPY\x01\x00\x04\x00{'''")
    assert "reward: cannot be read" in refusal(tmp_path)


def test_another_compression_than_numpys_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("image.npy", b"")
    assert "image: is compressed in another way" in refusal(tmp_path)


def test_an_array_in_place_of_an_archive(tmp_path):
    with open(tmp_path / "bad.npz", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(file, header)
    assert "bad.npz: is a single array (.npy), not an .npz" in refusal(tmp_path)


@pytest.mark.parametrize("target", ["other.h5", "/dev/zero", "nowhere"])
def test_a_shard_of_links_is_not_followed(tmp_path, target):
    path = write_hdf5(tmp_path / "bad.hdf5", stream([GOOD]))
    os.mkfifo(tmp_path / "other.h5")  # who follows the link waits without end
    with h5py.File(path, "a") as file:
        del file["observation"]
        file["observation"] = h5py.ExternalLink(target, "x")
    assert "observation: is a link" in refusal(tmp_path)


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
def test_a_hollow_shard(tmp_path, options):
    rows = stream([GOOD])
    with h5py.File(tmp_path / "bad.hdf5", "w") as file:
        for key, values in rows.items():
            shape = (10**9, *values.shape[1:])
            file.create_dataset(key, shape, values.dtype, **options)
    assert "reading it needs" in refusal(tmp_path) or "declares" in refusal(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: os.symlink("no", p)])
def test_what_is_no_file_is_named(tmp_path, make):
    write_folder(tmp_path, [GOOD])
    make(tmp_path / "0.npz")
    assert refusal(tmp_path).startswith(f"{tmp_path / '0.npz'}: is not a file")


def test_folders_that_lead_back_are_walked_once(tmp_path):
    level = tmp_path / "main" / "walker_walk" / "random" / "64px"
    write_folder(level, [GOOD])
    for i in range(12):  # 12**7 ways
        os.symlink(tmp_path, tmp_path / "main" / f"back{i}")
    assert len(open_dataset(tmp_path, "walker_walk", min_length=2).offsets) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "not valid JSON"),
        (json.dumps({"task": ["x"]}), "task is ['x'], expected a text"),
        (json.dumps({"action_repeat": 1e400}), "action_repeat is inf"),
        (json.dumps({"action_repeat": -1}), "action_repeat is -1"),
        (json.dumps({"render": {"a\n": "x" * 9999}}), "render style"),
    ],
)
def test_a_damaged_record(tmp_path, text, said):
    write_folder(tmp_path, [GOOD])
    (tmp_path / "dataset.json").write_text(text)
    found = refusal(tmp_path)
    assert found.startswith(f"{tmp_path / 'dataset.json'}: ") and said in found
    assert "\n" not in found and len(found) < 500


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", b"[]"),
        ("summary.json", b'{"origins": ["x"]}'),
        ("offsets.npy", b""),
        ("image.npy", b"\x93NUMPY\x01\x00\x04\x00{'''"),
    ],
)
def test_a_cache_that_came_damaged_is_built_again(tmp_path, name, content):
    write_folder(tmp_path, [GOOD])
    open_dataset(tmp_path, image_size=8, min_length=2)
    (path,) = tmp_path.glob(f".cache/*/{name}")
    path.write_bytes(content)
    again = open_dataset(tmp_path, image_size=8, min_length=2)
    np.testing.assert_array_equal(again.image, GOOD["image"])


def test_a_cache_of_falling_offsets_is_built_again(tmp_path):
    write_folder(tmp_path, [GOOD, GOOD])
    open_dataset(tmp_path, image_size=8, min_length=2)
    (path,) = tmp_path.glob(".cache/*/offsets.npy")
    np.save(path, np.array([0, 99, 18]))
    again = open_dataset(tmp_path, image_size=8, min_length=2)
    assert again.offsets.tolist() == [0, 9, 18]


@pytest.mark.parametrize("name", ["reward", "action"])
def test_a_cache_of_impossible_numbers_is_built_again(tmp_path, name):
    write_folder(tmp_path, [GOOD])
    open_dataset(tmp_path, image_size=8, min_length=2)
    (path,) = tmp_path.glob(f".cache/*/{name}.npy")
    np.save(path, np.full_like(np.load(path), np.inf))
    again = open_dataset(tmp_path, image_size=8, min_length=2)
    np.testing.assert_array_equal(getattr(again, name), GOOD[name].astype("f4"))


def test_names_from_a_file_do_not_reach_the_terminal(tmp_path, capsys):
    wild = {**GOOD, "a\n\x1b[31m": GOOD["reward"]}
    del wild["reward"]
    write_npz(tmp_path / "bad.npz", wild)
    assert main(["info", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "a\\n\\x1b[31m" in said and "\x1b" not in said


def test_a_task_is_not_taken_for_markup(tmp_path, capsys):
    write_folder(tmp_path, [GOOD])
    (tmp_path / "dataset.json").write_text(json.dumps({"task": "[/b]"}))
    assert main(["info", str(tmp_path)]) == 0
    assert "[/b]" in Text(capsys.readouterr().out).plain


def test_a_histogram_of_neighbouring_large_numbers():
    assert len(histogram(np.array([1e17, np.nextafter(1e17, 2e17)]))) == 20
