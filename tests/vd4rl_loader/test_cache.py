"""The cache: opened without reading, rebuilt on change, whole or not there at all."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from vd4rl_files import assert_holds, episode, stream, write_folder, write_hdf5

import vd4rl_loader.files.formats
from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.cache import homes

EPISODES = [episode(i) for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    write_folder(folder, EPISODES)
    return folder


def quiet(path, **options):
    return open_dataset(path, image_size=16, log=lambda line: None, **options)


def entries(home):
    return sorted(path.name for path in home.iterdir() if path.is_dir())


@pytest.fixture
def no_reading(monkeypatch):
    """From its call on, files of episodes must not be read."""

    def forbid():
        monkeypatch.setattr(vd4rl_loader.files.formats, "read_episodes", None)

    return forbid


def test_the_arrays_are_read_only_maps(folder):
    for _ in range(2):
        dataset = quiet(folder)
        assert isinstance(dataset.image, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            dataset.image[0, 0, 0, 0] = 1


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_the_second_opening_reads_no_source(tmp_path, suffix, no_reading):
    if suffix == ".npz":
        write_folder(tmp_path, EPISODES)
    else:
        write_hdf5(tmp_path / "1.hdf5", stream(EPISODES))
    quiet(tmp_path)
    no_reading()
    assert_holds(quiet(tmp_path), EPISODES)


def test_neither_opening_holds_the_dataset_in_memory(tmp_path):
    write_folder(tmp_path, [episode(i, size=48) for i in range(24)])
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        dataset = open_dataset(tmp_path, image_size=48, log=lambda line: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_episode = dataset.image.nbytes / 24
    assert peaks[0] < 6 * one_episode
    assert peaks[1] < one_episode


def test_a_changed_source_replaces_the_cache(folder):
    quiet(folder)
    before = entries(folder / ".cache")
    changed = episode(9)
    (last,) = write_folder(folder, [EPISODES[0], EPISODES[1], changed])[2:]
    assert_holds(quiet(folder), [*EPISODES[:2], changed])
    after = entries(folder / ".cache")
    assert len(before) == len(after) == 1
    assert before != after
    last.unlink()
    assert_holds(quiet(folder), EPISODES[:2])
    last.write_bytes(b"")
    with pytest.raises(DataError, match=last.name):
        quiet(folder)


def test_a_touched_source_is_read_again(folder):
    quiet(folder)
    path = max(folder.glob("*.npz"))
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path)
    with pytest.raises(DataError, match=path.name):
        quiet(folder)


@pytest.mark.parametrize("how", ["written over", "put in its place"])
def test_other_data_of_the_same_names_sizes_and_times(tmp_path, how):
    """As archives and copies keep times."""
    one, other = ({**episode(0), "reward": np.arange(70.0) * n} for n in (1, 2))
    folder, new = tmp_path / "data", tmp_path / "new"
    for place, fields in ((folder, one), (new, other)):
        place.mkdir()
        np.savez(place / "a.npz", **fields)  # not compressed: of one size
    assert_holds(quiet(folder), [one])
    path, before = folder / "a.npz", (folder / "a.npz").stat()
    if how == "written over":
        path.write_bytes((new / "a.npz").read_bytes())
    else:
        (new / "a.npz").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert_holds(quiet(folder), [other])


def test_image_sizes_and_single_files_have_their_own_entries(folder):
    quiet(folder)
    quiet(max(folder.glob("*.npz")))
    quiet(min(folder.glob("*.npz")))
    open_dataset(folder, image_size=8, log=lambda line: None)
    assert len(entries(folder / ".cache")) == 4
    assert_holds(quiet(folder), EPISODES)


def test_a_failed_build_leaves_nothing(folder):
    (folder / "z.npz").write_bytes(b"")
    with pytest.raises(DataError):
        quiet(folder)
    assert entries(folder / ".cache") == []


KILLED_CHILD = """
import sys, time
from vd4rl_loader import open_dataset
from vd4rl_loader.files import npz
read = npz._read_file
def slow(path, *sizes):
    if "T000002" in path.name:
        print("half", flush=True)
        time.sleep(60)
    return read(path, *sizes)
npz._read_file = slow
open_dataset(sys.argv[1], image_size=16)
"""


def test_a_killed_build_leaves_no_half_cache(folder):
    command = [sys.executable, "-c", KILLED_CHILD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while "half" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    (left,) = entries(folder / ".cache")
    assert (folder / ".cache" / left / "image.npy").stat().st_size > 0
    assert_holds(quiet(folder), EPISODES)
    (entry,) = entries(folder / ".cache")
    assert entry != left


@pytest.mark.parametrize("name", ["image.npy", "offsets.npy", "summary.json"])
@pytest.mark.parametrize("kept", [None, 0, 100])
def test_a_damaged_cache_is_built_again(folder, name, kept):
    quiet(folder)
    (entry,) = (path for path in (folder / ".cache").iterdir() if path.is_dir())
    if kept is None:
        (entry / name).unlink()
    else:
        (entry / name).write_bytes((entry / name).read_bytes()[:kept])
    assert_holds(quiet(folder), EPISODES)


def _open_and_sum(path, start, results):
    start.wait()
    results.put(int(quiet(path).image.sum(dtype=np.int64)))


def test_builders_at_the_same_time_agree(folder):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [
        context.Process(target=_open_and_sum, args=(folder, start, results))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    start.set()
    sums = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert sums == {sum(int(e["image"].sum(dtype=np.int64)) for e in EPISODES)}
    assert len(entries(folder / ".cache")) == 1


def test_a_second_builder_waits_and_takes_what_the_first_built(folder, monkeypatch):
    reading = vd4rl_loader.files.formats.read_episodes
    logged, others = [], []

    def interrupted(source, *rest):
        if not others:
            code = (
                "import sys; from vd4rl_loader import open_dataset;"
                "open_dataset(sys.argv[1], image_size=16)"
            )
            command = [sys.executable, "-c", code, str(folder)]
            others.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            logged.append(others[0].stdout.readline())
        yield from reading(source, *rest)

    monkeypatch.setattr(vd4rl_loader.files.formats, "read_episodes", interrupted)
    assert_holds(quiet(folder), EPISODES)
    rest, _ = others[0].communicate(timeout=60)
    assert "waiting for another process" in logged[0]
    assert "reading" not in rest
    assert others[0].returncode == 0


def test_without_locks_the_first_to_finish_is_kept(folder, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks here")

    def overtaken(source, *rest):
        monkeypatch.setattr(vd4rl_loader.files.formats, "read_episodes", reading)
        quiet(folder)
        yield from reading(source, *rest)

    reading = vd4rl_loader.files.formats.read_episodes
    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr(vd4rl_loader.files.formats, "read_episodes", overtaken)
    assert_holds(quiet(folder), EPISODES)
    assert len(entries(folder / ".cache")) == 1


def test_data_on_a_read_only_disk_is_cached_for_the_user(
    folder, tmp_path, monkeypatch, no_reading
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    (folder / ".cache").write_text("a file, so that no folder can be made here")
    quiet(folder)
    no_reading()
    assert_holds(quiet(folder), EPISODES)
    (home,) = (tmp_path / "xdg" / "dreamer_leq").iterdir()
    assert len(entries(home)) == 1


@pytest.mark.parametrize("home", ["~", "a file"])
def test_without_a_home_it_is_cached_for_the_while(folder, tmp_path, monkeypatch, home):
    (folder / ".cache").write_text("a file, so that no folder can be made here")
    (tmp_path / "a file").write_text("")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home if home == "~" else str(tmp_path / home))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for _ in range(2):
        assert_holds(quiet(folder), EPISODES)
    (entry,) = (tmp_path / "tmp").glob("dreamer_leq-*/*")
    assert len(entries(entry)) == 1 and not Path("~").exists()


def test_but_not_where_another_user_was_first(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"dreamer_leq-{os.getuid()}").mkdir()
    assert any(home.is_relative_to(tmp_path) for home in homes(folder, None)[1:])
    user = os.getuid() + 1
    (tmp_path / f"dreamer_leq-{user}").mkdir()  # it is ours, not theirs
    monkeypatch.setattr("os.getuid", lambda: user)
    assert not any(home.is_relative_to(tmp_path) for home in homes(folder, None)[1:])


def test_a_cache_that_lies_on_a_read_only_disk_is_used(folder, monkeypatch):
    def nowhere(places):
        raise DataError("not writable")

    quiet(folder)
    monkeypatch.setattr("vd4rl_loader.cache._first_writable", nowhere)
    assert_holds(quiet(folder), EPISODES)


def test_a_given_cache_folder(folder, tmp_path):
    other = tmp_path / "other"
    write_folder(other, EPISODES[1:])
    for _ in range(2):
        assert_holds(quiet(folder, cache_dir=tmp_path / "cache"), EPISODES)
        assert_holds(quiet(other, cache_dir=tmp_path / "cache"), EPISODES[1:])
    assert not (folder / ".cache").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write a cache to .*give a writable"):
        quiet(folder, cache_dir=tmp_path / "file")


def test_a_moved_dataset_keeps_its_cache(folder, tmp_path, no_reading):
    quiet(folder)
    moved = folder.rename(tmp_path / "moved")
    no_reading()
    assert_holds(quiet(moved), EPISODES)


def test_a_full_disk_is_the_users_error(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vd4rl_loader.arrays._GrowingArray.append", full)
    with pytest.raises(DataError, match="no space left for the cache"):
        quiet(folder)
    assert entries(folder / ".cache") == []


def test_the_arrays_are_plain_npy_files(folder):
    dataset = quiet(folder)
    (entry,) = (path for path in (folder / ".cache").iterdir() if path.is_dir())
    for name in ("image", "action", "reward", "is_first", "is_last", "is_terminal"):
        np.testing.assert_array_equal(
            np.load(entry / f"{name}.npy"), getattr(dataset, name)
        )
    json.loads((entry / "summary.json").read_text())


def test_opening_100k_entries_again_takes_under_a_second(tmp_path):
    # As many files and entries as V-D4RL's sets have, with images of one pixel.
    small = episode(0, length=501, size=1)
    path = write_folder(tmp_path, [small])[0]
    for i in range(1, 200):
        os.link(path, tmp_path / f"20220101T{i:06d}-{i}-501.npz")
    open_dataset(tmp_path, image_size=1, log=lambda line: None)
    start = time.process_time()  # of this process: other work cannot disturb it
    dataset = open_dataset(tmp_path, image_size=1, log=lambda line: None)
    assert time.process_time() - start < 1
    assert len(dataset.image) == 200 * 501
