"""DreamerV3's replay becomes a dataset: its chunks are followed, its actions moved.

A row's reward is ten times the action that led there, so that a shift is seen.
"""

import numpy as np
import pytest

from vd4rl_loader import DataError, open_dataset
from vd4rl_loader.__main__ import main
from vd4rl_loader.states import open_states

NOBODY = "0" * 22


def quiet(line):
    pass


def rows(lengths, worker=0, ends=True):
    """Rows of episodes, the last of which breaks off unless it `ends`."""
    step = np.concatenate([np.arange(length) for length in lengths])
    last = np.isin(np.arange(len(step)), np.cumsum(lengths) - 1)
    last[-1] &= ends
    return {
        "image": np.broadcast_to(
            np.uint8(step + 100 * worker)[:, None, None, None], (len(step), 8, 8, 3)
        ),
        "height": step / 10,
        "orientations": np.stack([step, -step], 1) / 10,
        "action": np.where(last, 0, (step + 1) / 10)[:, None].astype(np.float32),
        "reward": step.astype(np.float32),
        "is_first": step == 0,
        "is_last": last,
        "is_terminal": last & (step == 4),
        "reset": step == 0,
        "stepid": np.zeros((len(step), 20), np.uint8),
        "dyn/deter": np.zeros((len(step), 4), np.float16),
        "log/loss": np.zeros(len(step), np.float32),
    }


def write(folder, rows, cuts, worker=0, before=0):
    """Chunks of these rows, without the `before` first ones."""
    folder.mkdir(exist_ok=True)
    names = [f"{worker}{number:021d}" for number in range(1, len(cuts) + 2)]
    bounds = [before, *cuts, len(rows["reward"])]
    for number, name in enumerate(names):
        start, stop = bounds[number : number + 2]
        successor = [*names, NOBODY][number + 1]
        # Of several workers, time is no order.
        file = f"20250101T00000{number}F{worker:06d}-{name}-{successor}-{stop - start}"
        part = {key: array[start:stop] for key, array in rows.items()}
        np.savez_compressed(folder / f"{file}.npz", **part)
    return folder


def brought(path, to):
    assert main(["convert", str(path), str(to)]) == 0
    if str(to).endswith(".hdf5"):
        return open_states(to, log=quiet)
    return open_dataset(to, image_size=8, min_length=2, log=quiet)


def assert_aligned(data, offsets, terminals):
    assert data.offsets.tolist() == offsets
    np.testing.assert_allclose(data.reward, data.action[:, 0] * 10, atol=1e-5)
    step = np.concatenate([np.arange(n) for n in np.diff(offsets)])
    np.testing.assert_array_equal(data.reward, step)
    assert np.flatnonzero(data.is_terminal).tolist() == terminals
    return step


def test_an_episode_across_two_chunks(tmp_path):
    write(tmp_path / "replay", rows([5, 3, 2]), [6])
    data = brought(tmp_path, tmp_path / "b")  # the run's folder
    step = assert_aligned(data, [0, 5, 8, 10], [4])
    np.testing.assert_array_equal(data.image[:, 0, 0, 0], step)


def test_vectors(tmp_path):
    write(tmp_path / "replay", rows([5, 3, 2]), [6])
    data = brought(tmp_path / "replay", tmp_path / "b.hdf5")
    step = assert_aligned(data, [0, 5, 8, 10], [4])
    np.testing.assert_allclose(data.vector, np.outer(step, [1, 1, -1]) / 10, atol=1e-6)


def test_workers_are_told_apart_and_what_is_open_is_closed(tmp_path, capsys):
    folder = write(tmp_path / "replay", rows([4, 6], 1, ends=False), [5, 7], 1, 2)
    write(folder, rows([3, 5, 3], worker=2), [2, 4], 2)
    data = brought(folder, tmp_path / "b")
    step = assert_aligned(data, [0, 6, 9, 14, 17], [13])
    worker = np.repeat([1, 2], [6, 11])
    np.testing.assert_array_equal(data.image[:, 0, 0, 0], step + 100 * worker)
    said = capsys.readouterr().out
    assert "2 rows left out before the first beginning of an episode" in said


def test_a_chunk_that_grew_and_one_that_is_broken(tmp_path, capsys):
    whole = rows([5, 3, 4, 3])
    folder = write(tmp_path / "replay", whole, [6, 10])
    first = next(folder.glob("*000001-*"))
    part = {key: array[:2] for key, array in whole.items()}
    grew = first.name.removesuffix("-6.npz").replace("00002-", "00000-")
    np.savez_compressed(folder / f"{grew}-2.npz", **part)
    assert_aligned(brought(folder, tmp_path / "b"), [0, 5, 8, 12, 15], [4])
    second = next(folder.glob("*-4.npz"))
    second.write_bytes(second.read_bytes()[:200])
    command = ["convert", str(folder), str(tmp_path / "c")]
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert second.name in said and "truncated or damaged" in said
    assert main([*command, "--skip-bad"]) == 0
    data = open_dataset(tmp_path / "c", image_size=8, min_length=2, log=quiet)
    # The second episode's rows in the first chunk are one, which is no transition.
    assert_aligned(data, [0, 5, 8], [4])


@pytest.mark.parametrize("alignment", ["arrival", "departure"])
def test_neither_order_of_ours_is_its(tmp_path, alignment):
    write(tmp_path / "replay", rows([5, 3, 2]), [6])
    with pytest.raises(DataError, match="looks like DreamerV3's replay, whose row"):
        open_dataset(tmp_path / "replay", min_length=2, log=quiet, alignment=alignment)


def test_grey_images_and_stacks(tmp_path, capsys):
    made = rows([5, 3])
    for channels in (1, 9):
        place = tmp_path / f"{channels}"
        image = np.repeat(made["image"][..., :1], channels, axis=3)
        image[..., :-3] = 0  # older frames
        write(place, {**made, "image": image}, [6])
        data = brought(place, tmp_path / f"to{channels}")
        step = assert_aligned(data, [0, 5, 8], [4])
        expected = np.broadcast_to(step[:, None, None, None], (8, 8, 8, 3))
        np.testing.assert_array_equal(data.image, expected)
    said = capsys.readouterr().out
    assert "2 episodes of grey images: written three times" in said
    assert "2 episodes of stacked frames: the last frame of each" in said
