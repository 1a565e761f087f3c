"""Rows on disk: those of the array, wherever they are asked for and by whom."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vd4rl_loader.errors import DataError
from vd4rl_loader.row_file import RowFile, is_whole_map

ARRAYS = {
    "images": np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), np.uint8),
    "vectors": np.random.default_rng(1).normal(size=(50, 7)).astype(np.float32),
    "numbers": np.arange(50) ** 2,
    "flags": np.arange(50) % 3 == 0,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "array.npy"


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize(
    "rows",
    [
        np.arange(50),
        np.array([49, 0, 1, 2, 2, 3, 7, 6]),
        np.array([[3, 4, 5], [48, 49, 0]]),
        np.array(17),
        np.zeros((0, 5), int),
    ],
    ids=lambda rows: str(rows.shape),
)
def test_rows_are_those_of_the_array(path, kind, rows):
    array = ARRAYS[kind]
    np.save(path, array)
    file = RowFile.opened(path)
    found = file[rows]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array[rows])
    known = (file.shape, file.ndim, file.nbytes, len(file))
    assert known == (array.shape, array.ndim, array.nbytes, 50)


def test_threads_may_read_at_the_same_time(path):
    np.save(path, ARRAYS["vectors"])
    file, rng = RowFile.opened(path), np.random.default_rng(2)
    wanted = [rng.integers(0, 50, 30) for _ in range(64)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(file.__getitem__, wanted))
    for rows, values in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(values, ARRAYS["vectors"][rows])


def test_what_is_written_is_read_by_everyone(path):
    file, array = RowFile.created(path, (50, 7)), ARRAYS["vectors"]
    assert not file[np.arange(50)].any()
    rows = np.random.default_rng(3).permutation(50)[:40]
    file[rows] = array[rows]
    file.flush()
    expected = np.where(np.isin(np.arange(50), rows)[:, None], array, 0)
    np.testing.assert_array_equal(np.load(path), expected)
    np.testing.assert_array_equal(file[np.arange(50)], expected)


@pytest.mark.parametrize("rows", [[-1], [50], [0, 1 << 40]])
def test_rows_that_are_not_there(path, rows):
    np.save(path, ARRAYS["numbers"])
    with pytest.raises(IndexError, match="rows 0 to 49"):
        RowFile.opened(path)[np.array(rows)]


def test_a_file_that_was_cut_off_meanwhile(path):
    np.save(path, ARRAYS["vectors"])
    file = RowFile.opened(path)
    with open(path, "r+b") as stream:
        stream.truncate(500)
    np.testing.assert_array_equal(file[np.arange(10)], ARRAYS["vectors"][:10])
    with pytest.raises(DataError, match="shorter"):
        file[np.arange(50)]


def test_the_rows_of_a_removed_file_are_those_of_its_map(path):
    np.save(path, ARRAYS["images"])
    array = np.load(path, mmap_mode="r")
    path.unlink()
    rows = np.array([49, 0, 1, 2, 7])
    np.testing.assert_array_equal(RowFile(array)[rows], ARRAYS["images"][rows])
    with pytest.raises(FileNotFoundError):
        RowFile(array, writable=True)


def test_whole_maps_are_told_from_parts_and_copies(path):
    np.save(path, ARRAYS["vectors"])
    mapped = np.load(path, mmap_mode="r")
    assert is_whole_map(mapped)
    others = (mapped[1:], mapped[:, :3], np.array(mapped), mapped.view(np.ndarray))
    assert not any(map(is_whole_map, others))
