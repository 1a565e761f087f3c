"""Random damage to bytes, arrays and texts. Every function takes a generator, and
gives the damaged thing with words for what was done to it.
"""

import json
from typing import Any

import numpy as np

Rng = np.random.Generator
Arrays = dict[str, np.ndarray]

_NUMBERS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1)
_HEAD = 600  # bytes at both ends of a file where its headers are


def damaged_bytes(content: bytes, rng: Rng) -> tuple[bytes, str]:
    """A copy of a file's content that was cut, flipped, overwritten, ..."""
    change = _BYTE_CHANGES[int(rng.integers(len(_BYTE_CHANGES)))]
    return change(content, rng)


def _cut(content: bytes, rng: Rng) -> tuple[bytes, str]:
    kept = int(rng.integers(len(content)))
    return content[:kept], f"cut to {kept} of {len(content)} bytes"


def _flip(content: bytes, rng: Rng) -> tuple[bytes, str]:
    found = bytearray(content)
    places = _places(len(content), rng, int(rng.integers(1, 9)))
    for place in places:
        found[place] ^= 1 << int(rng.integers(8))
    return bytes(found), f"bits flipped at {places}"


def _overwrite(content: bytes, rng: Rng) -> tuple[bytes, str]:
    (at,), size = _places(len(content), rng, 1), int(rng.integers(1, 65))
    fill = (bytes(size), b"\xff" * size, rng.bytes(size))[int(rng.integers(3))]
    return content[:at] + fill + content[at + size :], f"{size} bytes written at {at}"


def _number(content: bytes, rng: Rng) -> tuple[bytes, str]:
    (at,), number = _places(len(content), rng, 1), int(rng.choice(len(_NUMBERS)))
    size, value = int(rng.choice([2, 4, 8])), _NUMBERS[number]
    fill = value.to_bytes(9, "little")[:size]
    return content[:at] + fill + content[at + size :], f"{value} written at {at}"


def _insert(content: bytes, rng: Rng) -> tuple[bytes, str]:
    (at,), size = _places(len(content), rng, 1), int(rng.integers(1, 100))
    return content[:at] + rng.bytes(size) + content[at:], f"{size} bytes put in at {at}"


def _remove(content: bytes, rng: Rng) -> tuple[bytes, str]:
    (at,), size = _places(len(content), rng, 1), int(rng.integers(1, 100))
    return content[:at] + content[at + size :], f"{size} bytes taken out at {at}"


def _copy(content: bytes, rng: Rng) -> tuple[bytes, str]:
    (to,), (source,) = (_places(len(content), rng, 1) for _ in range(2))
    span = content[source : source + int(rng.integers(8, 200))]
    return content[:to] + span + content[to + len(span) :], f"{source} copied to {to}"


_BYTE_CHANGES = (_cut, _flip, _overwrite, _number, _insert, _remove, _copy)


def _places(size: int, rng: Rng, count: int) -> list[int]:
    """Random offsets, half of the times near both ends."""
    if rng.random() < 0.5:
        return rng.integers(size, size=count).tolist()
    near = rng.integers(min(_HEAD, size), size=count)
    return np.where(rng.random(count) < 0.5, near, size - 1 - near).tolist()


_DTYPES = ("i8", "u1", "f2", "f8", ">f4", "c8", "S3", "U3", "?", "M8[s]", "f4,i4")
_VALUES = (np.nan, np.inf, -np.inf, 1e300, -1.0, 1e38, 2.0, 1e-45)
_SHAPES = ("ravel", "axis", "transpose", "half", "none", "scalar", "column")


def damaged_arrays(arrays: Arrays, rng: Rng) -> tuple[Arrays, str]:
    """A copy of a file's arrays, one of which is missing, of another kind, ..."""
    name = str(rng.choice(sorted(arrays)))
    change = _ARRAY_CHANGES[int(rng.integers(len(_ARRAY_CHANGES)))]
    return change(dict(arrays), name, rng)


def _drop(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    del arrays[name]
    return arrays, f"{name} left out"


def _rename(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    other = ("x", name.upper(), "é\n" + name, "[/b]", "a" * 500)[int(rng.integers(5))]
    arrays[other] = arrays.pop(name)
    return arrays, f"{name} is named {other[:20]!r}"


def _cast(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    dtype = str(rng.choice(_DTYPES))
    with np.errstate(all="ignore"):
        if dtype == "f4,i4":
            arrays[name] = np.zeros(arrays[name].shape, dtype)
        elif dtype == "M8[s]":
            arrays[name] = np.zeros(arrays[name].shape, "i8").view(dtype)
        else:
            arrays[name] = arrays[name].astype(dtype)
    return arrays, f"{name} of type {dtype}"


def _reshape(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    how, array = str(rng.choice(_SHAPES)), arrays[name]
    arrays[name] = {
        "ravel": array.ravel(),
        "axis": array[None],
        "transpose": array.T,
        "half": array[: len(array) // 2],
        "none": array[:0],
        "scalar": array.ravel()[0],
        "column": array[..., None],
    }[how]
    return arrays, f"{name} reshaped: {how}"


def _poison(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    value = float(rng.choice(_VALUES))
    array = arrays[name].astype("f8") if arrays[name].dtype.kind in "iub" else None
    array = arrays[name].copy() if array is None else array
    with np.errstate(all="ignore"):
        array.ravel()[int(rng.integers(array.size))] = value
        arrays[name] = array.astype(arrays[name].dtype)
    return arrays, f"{name} holds {value}"


def _fill(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    value = float(rng.choice(_VALUES))
    with np.errstate(all="ignore"):
        arrays[name] = np.full(arrays[name].shape, value).astype(arrays[name].dtype)
    return arrays, f"{name} is all {value}"


def _swap(arrays: Arrays, name: str, rng: Rng) -> tuple[Arrays, str]:
    other = str(rng.choice(sorted(arrays)))
    arrays[name], arrays[other] = arrays[other], arrays[name]
    return arrays, f"{name} and {other} exchanged"


_ARRAY_CHANGES = (_drop, _rename, _cast, _reshape, _poison, _fill, _swap)


# Stands for what a JSON or YAML file may hold in the place of anything.
STRANGE = (
    None,
    True,
    -1,
    0,
    10**30,
    1e400,
    float("nan"),
    "",
    "\x00",
    "a\nb",
    "[/b]",
    "../../x",
    "x" * 5000,
    [],
    [1, [2]],
    {},
    {"a": {"b": 1}},
)


def damaged_tree(tree: Any, rng: Rng) -> tuple[Any, str]:
    """A copy of a JSON-able value in which one value, or key, is another."""
    tree = json.loads(json.dumps(tree))
    way = _a_way(tree, rng)
    if not way:
        value = STRANGE[int(rng.integers(len(STRANGE)))]
        return value, f"all is {value!r:.40}"
    *above, last = way
    parent = tree
    for step in above:
        parent = parent[step]
    where = ".".join(map(str, way))
    kind = int(rng.integers(4))
    if kind == 0:
        del parent[last]
        return tree, f"{where} left out"
    if kind == 1 and isinstance(parent, dict):
        parent["unknown"] = parent.pop(last)
        return tree, f"{where} renamed"
    value = STRANGE[int(rng.integers(len(STRANGE)))]
    parent[last] = value
    return tree, f"{where} is {value!r:.40}"


def _a_way(tree: Any, rng: Rng) -> list:
    """The keys to a random node, seldom the root."""
    way: list = []
    while isinstance(tree, dict | list) and tree and rng.random() < (0.8 if way else 1):
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        way.append(keys[int(rng.integers(len(keys)))])
        tree = tree[way[-1]]
    return way if rng.random() < 0.97 else []
