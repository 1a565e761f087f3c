"""Batches: only what belongs together, and the same wherever the data lies."""

import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from dreamer_leq.data import sampling as sources
from dreamer_leq.data.entries import extra_arrays, transition_starts
from dreamer_leq.data.sampling import (
    EpisodeWindows,
    Source,
    Transitions,
    Windows,
    batch_key,
    place,
    update_key,
    window_starts,
)
from vd4rl_loader.row_file import RowFile

LENGTHS = (6, 1, 9, 4, 13)  # entries of the episodes
KEY = jax.random.key(3)


def stream():
    """Episodes one after the other; every value says its episode and its time."""
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    time = np.concatenate([np.arange(n) for n in LENGTHS])
    last = np.append(time[1:] == 0, True)
    return {
        "episode": episode.astype(np.int32),
        "time": time.astype(np.int32),
        "image": (7 * np.arange(len(time))).astype(np.uint8)[:, None],
        "action": np.stack([episode, time], 1).astype(np.float32) / 7,
        "reward": (100 * episode + time).astype(np.float32),
        "is_first": time == 0,
        "is_terminal": last & (episode % 2 == 1),
    }


def latents(returns=True):
    data = stream()
    arrays = {name: data[name] for name in ("action", "reward", "is_terminal")}
    arrays["deter"] = np.stack([data["episode"], data["time"]], 1).astype(np.float32)
    arrays["stoch"] = data["image"]
    arrays["transition"] = transition_starts(data["is_first"], data["is_terminal"])
    return arrays | ({"return": data["reward"] / 3} if returns else {})


def windows(length=5, batch=64):
    return Windows(sum(LENGTHS), batch, length)


def transitions(arrays, batch):
    return Transitions(len(arrays["transition"]), batch, ("deter", "stoch"))


def sampled(sampler, arrays, step=0):
    return sampler.gather(arrays, np.asarray(sampler.draw(batch_key(KEY, step))))


# --- what is drawn


def test_a_window_enters_another_episode_only_at_its_is_first():
    batch = sampled(windows(), stream())
    changes = np.diff(batch["episode"], axis=1) != 0
    assert changes.any()  # windows do run over ends
    np.testing.assert_array_equal(changes, batch["is_first"][:, 1:])
    np.testing.assert_array_equal(
        np.diff(batch["time"], axis=1) == 1, ~batch["is_first"][:, 1:]
    )


def test_windows_begin_everywhere_and_end_inside_the_stream():
    entries, length = sum(LENGTHS), 5
    picks = np.asarray(windows(length, 4000).draw(KEY))
    counts = np.bincount(picks, minlength=entries)
    assert set(np.flatnonzero(counts)) == set(range(entries - length + 1))
    expected = 4000 / (entries - length + 1)
    assert (abs(counts[: entries - length + 1] - expected) < 5 * expected**0.5).all()


def test_a_window_as_long_as_the_stream():
    batch = sampled(windows(sum(LENGTHS), 3), stream())
    np.testing.assert_array_equal(batch["reward"], [stream()["reward"]] * 3)


@pytest.mark.parametrize("length", [1, 2, 4, 9, 13])
def test_window_starts_by_counting(length):
    starts, expected = window_starts(stream()["is_first"], length), []
    for begin, size in zip(np.cumsum([0, *LENGTHS]), LENGTHS, strict=False):
        expected += range(begin, begin + size - length + 1)
    assert list(starts) == expected


def test_episode_windows_stay_inside_an_episode():
    data = stream()
    starts = window_starts(data["is_first"], 4)
    batch = sampled(EpisodeWindows(len(starts), 64, 4), data | {"starts": starts})
    assert "starts" not in batch
    assert (np.diff(batch["episode"], axis=1) == 0).all()
    assert (np.diff(batch["time"], axis=1) == 1).all()
    assert not batch["is_first"][:, 1:].any()


def test_transition_starts_are_all_but_the_last_entries():
    data = stream()
    starts = transition_starts(data["is_first"], data["is_terminal"])
    lasts = np.cumsum(LENGTHS) - 1
    assert list(starts) == sorted(set(range(sum(LENGTHS))) - set(lasts))


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_the_steps_of_a_chunk_are_of_one_episode(steps, on_device):
    """All chunks that fit in, and shorter ones that lead to a terminal state, in which
    the last entry stays.
    """
    data, arrays = stream(), latents()
    arrays |= extra_arrays(data, ("chunk",), 0.5)
    ends = data["is_first"], data["is_terminal"]
    starts = arrays["transition"] = transition_starts(*ends, ("chunk",), steps)
    sampler = Transitions(len(starts), 0, ("deter",), steps, 0.5)
    every = np.arange(len(starts))
    if on_device:
        arrays, every = jax.tree.map(jax.numpy.asarray, (arrays, every))
    batch = sampler.gather(arrays, every)
    expected = []
    for first, length in zip(np.cumsum([0, *LENGTHS]), LENGTHS, strict=False):
        last = first + length - 1
        fits = range(first, last if data["is_terminal"][last] else last - steps + 1)
        expected += [[min(i + k, last) for k in range(steps + 1)] for i in fits]
    rows = np.array(expected)
    assert list(starts) == list(rows[:, 0])
    np.testing.assert_array_equal(batch["actions"], data["action"][rows[:, 1:]])
    np.testing.assert_array_equal(batch["rewards"], data["reward"][rows[:, 1:]])
    np.testing.assert_array_equal(batch["ends"], data["is_terminal"][rows[:, 1:]])
    np.testing.assert_array_equal(batch["next_deter"][:, 1], data["time"][rows[:, -1]])
    alive = np.cumprod(1 - data["is_terminal"][rows[:, 1:]], 1)
    before = np.concatenate([np.ones((len(rows), 1)), alive[:, :-1]], 1)
    weight = 0.5 ** np.arange(steps) * before
    total = (weight * data["reward"][rows[:, 1:]]).sum(1)
    np.testing.assert_allclose(batch["reward"], total, rtol=1e-6)
    np.testing.assert_array_equal(batch["cont"], alive[:, -1])


def test_the_next_action_is_of_the_same_episode_or_none_at_all():
    """Rows that lead to where an episode was cut off have none, and are left out; a
    terminal state's is 0, as nothing follows.
    """
    data, arrays = stream(), latents()
    reads = ("next_action",)
    ends = data["is_first"], data["is_terminal"]
    arrays |= extra_arrays(data, reads, 0.9)
    arrays["transition"] = transition_starts(*ends, reads)
    batch = sampled(transitions(arrays, 512), arrays)
    episode, time = batch["next_deter"].T
    length = np.array(LENGTHS)[episode.astype(int)]
    last = time == length - 1
    assert last.any() and (episode[last] % 2 == 1).all()
    inside = np.stack([episode, time + 1], 1) / 7
    expected = np.where(last[:, None], 0.0, inside)
    np.testing.assert_allclose(batch["next_action"], expected, rtol=1e-6)
    left_out = set(transition_starts(*ends)) - set(arrays["transition"])
    cut_off = [i for i in np.cumsum(LENGTHS) - 1 if not data["is_terminal"][i]]
    assert {int(i) + 1 for i in left_out} == {
        i for i in cut_off if LENGTHS[data["episode"][i]] > 1
    }


def test_a_transition_takes_action_reward_and_end_from_its_second_entry():
    arrays = latents()
    batch = sampled(transitions(arrays, 256), arrays)
    episode, time = batch["deter"].T
    np.testing.assert_array_equal(batch["next_deter"], np.stack([episode, time + 1], 1))
    np.testing.assert_array_equal(batch["reward"], 100 * episode + time + 1)
    np.testing.assert_allclose(batch["action"][:, 1] * 7, time + 1, rtol=1e-6)
    np.testing.assert_allclose(batch["return"] * 3, 100 * episode + time, rtol=1e-6)
    assert ((batch["next_stoch"] - batch["stoch"]) == 7).all()
    ends = (episode % 2 == 1) & (time + 1 == np.array(LENGTHS)[episode.astype(int)] - 1)
    assert ends.any()
    np.testing.assert_array_equal(batch["cont"], ~ends)


def test_returns_are_left_out_where_there_are_none():
    arrays = latents(returns=False)
    batch = sampled(transitions(arrays, 4), arrays)
    assert "return" not in batch


def test_batches_differ_between_steps_and_from_what_the_update_draws():
    draws = [np.asarray(windows().draw(batch_key(KEY, step))) for step in range(3)]
    draws.append(np.asarray(windows().draw(update_key(KEY, 0))))
    draws.append(np.asarray(windows().draw(batch_key(jax.random.key(4), 0))))
    assert len({draw.tobytes() for draw in draws}) == len(draws)


# --- where the data lies


SAMPLERS = {
    "windows": (stream(), windows(5, 8)),
    "transitions": (latents(), transitions(latents(), 8)),
}


def batches(source, first, last, most):
    """The batches of updates first … last - 1, read as the loop reads them."""
    feed, step, found = source.feed(KEY, first), first, []
    read = jax.jit(feed.read)
    try:
        while step < last:
            data, n = feed.data(step, min(most, last - step))
            assert 1 <= n <= most
            found += [jax.device_get(read(data, KEY, step + i)) for i in range(n)]
            step += n
    finally:
        feed.close()
    return found


def placed(kind, placement):
    arrays, sampler = SAMPLERS[kind]
    return place(arrays, sampler, placement)[0]


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize(("first", "most"), [(0, 100), (0, 3), (13, 5)])
def test_device_and_host_give_the_same_batches(kind, first, most):
    resident = batches(placed(kind, "device"), first, 30, 100)
    streamed = batches(placed(kind, "host"), first, 30, most)
    assert len(resident) == len(streamed) == 30 - first
    for step, (a, b) in enumerate(zip(resident, streamed, strict=True), first):
        arrays, sampler = SAMPLERS[kind]
        direct = sampled(sampler, arrays, step)
        assert a.keys() == b.keys() == direct.keys()
        for name in a:
            assert a[name].dtype == b[name].dtype, name
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
            np.testing.assert_array_equal(a[name], direct[name], err_msg=name)


def test_a_resumed_stream_goes_on_with_the_same_batches():
    whole = batches(placed("windows", "host"), 0, 21, 100)
    rest = batches(placed("windows", "host"), 11, 21, 100)
    jax.tree.map(np.testing.assert_array_equal, whole[11:], rest)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("sector", [1, 8, 1 << 20])
def test_mapped_files_are_read_by_rows_or_held(tmp_path, monkeypatch, kind, sector):
    """The same batches, whichever arrays have rows of `sector` bytes."""
    monkeypatch.setattr(sources, "SECTOR", sector)
    arrays, sampler = SAMPLERS[kind]
    mapped = {}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    source, note = place(mapped, sampler, "host")
    on_disk = {n for n, array in source.arrays.items() if isinstance(array, RowFile)}
    assert on_disk == {n for n, x in arrays.items() if x[0].nbytes >= sector}
    assert not any(isinstance(x, np.memmap) for x in source.arrays.values())
    assert ("on disk, read ahead" in note) == bool(on_disk)
    jax.tree.map(
        np.testing.assert_array_equal,
        batches(source, 0, 10, 3),
        batches(placed(kind, "device"), 0, 10, 100),
    )


def test_a_part_of_a_mapped_file_is_not_taken_for_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SECTOR", 1)
    np.save(tmp_path / "a.npy", np.arange(12).reshape(6, 2))
    part = np.load(tmp_path / "a.npy", mmap_mode="r")[2:5]
    assert sources.from_disk(part) is part


def test_a_file_larger_than_what_is_to_be_held_is_read_without_holding_it(tmp_path):
    """200 MB, of which 200 batches of windows see nearly all: nothing stays."""
    path, entries = tmp_path / "image.npy", 16_384
    image = RowFile.created(path, (entries, 64, 64, 3), np.uint8)
    marked = np.arange(0, entries, 37)
    image[marked] = marked.astype(np.uint8)[:, None, None, None] + np.ones(
        (64, 64, 3), np.uint8
    )
    mapped = np.load(path, mmap_mode="r")
    source, _ = place({"image": mapped}, Windows(entries, 4, 65), "host")
    gather = source.sampler.gather
    rng = np.random.default_rng(0)
    starts = rng.integers(0, entries - 64, (200, 4))
    gather(source.arrays, starts[0])
    before = resident_memory()
    for start in starts:
        batch = gather(source.arrays, start)
    assert resident_memory() - before < 50e6
    for i, first in enumerate(starts[-1]):
        np.testing.assert_array_equal(batch["image"][i], mapped[first : first + 65])
    assert batch["image"].any()


def resident_memory():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def test_a_stream_says_what_is_waited_for_and_how_long():
    """The second chunk comes only once somebody waits for it."""
    asked = threading.Event()

    class Slow(Windows):
        def gather(self, arrays, index):
            if begun:
                asked.wait(60)
            begun.append(index)
            return super().gather(arrays, index)

    begun, (arrays, _) = [], SAMPLERS["windows"]
    source = Source(arrays, Slow(sum(LENGTHS), 8, 5), on_device=False)
    feed = source.feed(KEY, 0)
    assert feed.ready(sources.CHUNK - 1) and feed.waited == 0
    assert not feed.ready(sources.CHUNK)
    assert feed.waits_for == "the host's memory"
    threading.Timer(0.05, asked.set).start()
    feed.data(sources.CHUNK, 1)
    assert feed.waited > 0
    feed.close()


def prefetchers():
    return [t for t in threading.enumerate() if "ThreadPool" in t.name]


def test_the_prefetching_thread_ends_with_its_feed():
    before = prefetchers()
    feed = placed("windows", "host").feed(KEY, 0)
    feed.data(0, 1)
    assert len(prefetchers()) == len(before) + 1
    feed.close()
    assert prefetchers() == before


def test_what_goes_wrong_while_prefetching_is_raised():
    class Failing(Windows):
        def gather(self, arrays, index):
            if gathered:
                raise OSError("the disk is gone")
            gathered.append(index)
            return super().gather(arrays, index)

    gathered = []
    arrays, _ = SAMPLERS["windows"]
    source = Source(arrays, Failing(sum(LENGTHS), 8, 5), on_device=False)
    with pytest.raises(OSError, match="the disk is gone"):
        batches(source, 0, 2 * sources.CHUNK, 100)
    assert not prefetchers()


@pytest.mark.parametrize(
    ("placement", "budget", "on_device"),
    [
        ("auto", 1 << 30, True),
        ("auto", 10, False),
        ("device", 10, True),
        ("host", 1 << 30, False),
    ],
)
def test_placement_by_size_says_where_and_why(
    monkeypatch, placement, budget, on_device
):
    monkeypatch.setattr(sources, "device_budget", lambda: budget)
    arrays = {"image": np.zeros((3 << 20, 1), np.uint8)}
    source, note = place(arrays, windows(), placement)
    assert source.on_device is on_device
    assert isinstance(source.arrays["image"], jax.Array) is on_device
    where = "on the device" if on_device else "in host memory"
    assert where in note and "3 MiB" in note and f"{budget / 2**20:,.0f} MiB" in note


def test_exactly_the_budget_fits(monkeypatch):
    arrays, sampler = SAMPLERS["windows"]
    size = sum(array.nbytes for array in arrays.values())
    for budget, fits in ((size, True), (size - 1, False)):
        monkeypatch.setattr(sources, "device_budget", lambda b=budget: b)
        assert place(arrays, sampler, "auto")[0].on_device is fits


def test_budgets_are_of_this_machine():
    assert 0 < sources.host_budget() < 1 << 50
    assert 0 < sources.device_budget() < 1 << 50
