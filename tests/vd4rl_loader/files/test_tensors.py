"""Safetensors files, whole and hostile."""

import json

import numpy as np
import pytest

from vd4rl_loader.files.tensors import declared
from vd4rl_loader.files.validation import BadFileError

EIGHT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(path, header, numbers=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return path


def test_what_the_engine_writes_comes_back(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(True),
        "empty": np.zeros((0, 3), np.uint8),
        "long": np.array([-1, 2**40]),
    }
    safetensors.save_file(arrays, tmp_path / "x", {"step": "3"})
    found = declared(tmp_path / "x")
    assert found.about == {"step": "3"}
    read = found.read()
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"a": EIGHT | {"shape": [2**60], "data_offsets": [0, 2**62]}}, "declares"),
        ({"a": EIGHT | {"shape": [3]}}, "declares 12 bytes, and has 8"),
        ({"a": EIGHT | {"shape": [-2]}}, "no numbers"),
        ({"a": EIGHT | {"shape": [True, 2]}}, "no numbers"),
        ({"a": EIGHT | {"dtype": "pickle"}}, "is of type pickle"),
        ({"a": EIGHT, "b": EIGHT}, "shares bytes"),
        ({"a": EIGHT | {"data_offsets": [8, 16]}}, "leaves some out"),
        ({"a": EIGHT | {"data_offsets": [0]}}, "damaged"),
        ({"a": EIGHT | {"shape": [1], "data_offsets": [0, 4]}}, "the file has"),
        ({"a": 3}, "damaged"),
        ([EIGHT], "damaged"),
        ({"__metadata__": {"step": 3}, "a": EIGHT}, "damaged"),
        ({"__metadata__": []}, "damaged"),
        (b'{"a": %b, "a": %b}' % ((json.dumps(EIGHT).encode(),) * 2), "twice"),
        (b"[" * 100_000 + b"]" * 100_000, "damaged"),
        (b'{"a\\u001b[2J": 3}', "damaged"),
        (b"\x80\x04pickle", "damaged"),
    ],
)
def test_what_a_header_can_not_say(tmp_path, header, said):
    with pytest.raises(BadFileError, match=said) as error:
        declared(written(tmp_path / "x", header))
    assert "\n" not in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"),
        (b"\0" * 8, "damaged"),
        ((2**40).to_bytes(8, "little"), "1,099,511,627,776 bytes"),
        (b"\x80\x04\x95" + b"x" * 50, "no safetensors file"),
    ],
)
def test_what_is_no_such_file(tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadFileError, match=said):
        declared(tmp_path / "x")


def test_what_does_not_fit_into_the_memory_is_not_read(tmp_path, monkeypatch):
    found = declared(written(tmp_path / "x", {"a": EIGHT}))
    monkeypatch.setattr("vd4rl_loader.files.untrusted._memory", lambda: 8)
    with pytest.raises(BadFileError, match="memory"):
        found.read()
