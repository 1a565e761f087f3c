"""Dataset files that were made to do harm, each by a trick of its own."""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from bad_data import DATA, Kind, Made
from damage import Rng
from states import layouts
from vd4rl_files import episode, stream, write_folder, write_npz

ROWS = layouts.rows([(6, "terminal"), (5, "timeout"), (4, None)])
NEORL = layouts.neorl(ROWS, [6, 11, 15])
EPISODE = episode(0, length=9, size=8)
SHARD = stream([EPISODE])
MARKER = "sprung"  # the file that executed code would leave


class Trap:
    """Leaves a marker where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (MARKER,)


# --- .npz


def npy(
    shape: object, dtype: str = "<f8", body: bytes = b"", version: int = 1
) -> bytes:
    """A .npy file whose header says anything."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + body


def _objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Trap()] * 15, object))
    return stream.getvalue()


# A member of an archive, in place of the array it is named after.
MEMBERS: dict[str, Callable[[], bytes]] = {
    "pickled objects": _objects,
    "a bare pickle": lambda: __import__("pickle").dumps(Trap()),
    "shape of terabytes": lambda: npy((10**12,)),
    "shape beyond 64 bits": lambda: npy((10**30, 3)),
    "negative shape": lambda: npy((-15, -3), body=bytes(360)),
    "shape of a float": lambda: npy((15.0, 3)),
    "shape of a text": lambda: npy("'15'"),
    "empty shape": lambda: npy((), body=bytes(8)),
    "type of terabytes": lambda: npy((15,), f"({10**9},)<f8"),
    "unknown type": lambda: npy((15,), "<q9"),
    "nested types": lambda: npy((15,), "(1,)" * 2000 + "<f8"),
    "no dictionary": lambda: b"\x93NUMPY\x01\x00\x05\x00[1,2]",
    "code for a header": lambda: (
        b"\x93NUMPY\x01\x00\x20\x00__import__('os').mkdir('sprung')"
    ),
    "unclosed header": lambda: b"\x93NUMPY\x01\x00\x04\x00{'''",
    "nested header": lambda: b"\x93NUMPY\x01\x00\x20\x4e" + b"(" * 20000,
    "header of 4 GB": lambda: b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(1 << 24),
    "header in Python 2's way": lambda: npy("(15L, 3L)", body=bytes(360)),
    "header of no text": lambda: b"\x93NUMPY\x03\x00\x04\x00\x00\x00\xff\xfe\xfd\xfc",
    "another version": lambda: b"\x93NUMPY\x09\x00" + bytes(100),
    "an image": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
}


def _with_member(fields: dict, name: str, member: bytes, path: Path) -> None:
    write_npz(path, layouts.without(fields, name))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", member)


def npz_members(folder: Path, rng: Rng, number: int) -> Made:
    """Every member of `MEMBERS`, as an array of V-D4RL's and of NeoRL's."""
    what = list(MEMBERS)[number // 2 % len(MEMBERS)]
    pixels = number % 2 == 0
    fields = EPISODE if pixels else NEORL
    name = str(rng.choice(sorted(fields)))
    if pixels:
        write_folder(folder / DATA, [episode(1, length=9, size=8)])
    _with_member(fields, name, MEMBERS[what](), folder / DATA / "bad.npz")
    return f"{name}: {what}", ["info", DATA]


def _zipped(path: Path, **members: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    for name, content in members.items():
        archive.writestr(name, content)
    return archive


def _bomb(path: Path) -> None:
    """Headers and members agree on 400 MB, which are 400 kB on the disk."""
    rows = 8_000_000
    with _zipped(path) as archive:
        for name in NEORL:
            dtype = "<i8" if name == "index" else "<f8"
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy((rows,) if name == "index" else (rows, 1), dtype))
                for _ in range(rows // 1_000_000):
                    member.write(bytes(8_000_000))


def _lying_size(path: Path) -> None:
    """The directory says that a member is of terabytes, as its header does."""
    rows = 1 << 39
    _with_member(NEORL, "obs", npy((rows,)), path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFFE)
    path.write_bytes(content)


def _renamed(path: Path, name: str) -> None:
    write_npz(path, NEORL)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, npy((1,), body=bytes(8)))


def _twice(path: Path) -> None:
    write_npz(path, NEORL)
    import warnings

    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("obs.npy", npy((10**12,)))


def _compressed(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in NEORL.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())


def _lzma_damaged(path: Path) -> None:
    _compressed(path, zipfile.ZIP_LZMA)
    content = path.read_bytes()
    path.write_bytes(content[:60] + b"\xff" * 8 + content[68:])


def _flags(path: Path, at: int, value: int) -> None:
    """Sets a field of all headers, such as that of encryption."""
    write_npz(path, NEORL)
    content = bytearray(path.read_bytes())
    for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        entry = -1
        while (entry := content.find(mark, entry + 1)) >= 0:
            content[entry + at + shift : entry + at + shift + 2] = value.to_bytes(
                2, "little"
            )
    path.write_bytes(content)


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "a lying size": _lying_size,
    "a member named ../": lambda path: _renamed(path, "../escaped.npy"),
    "a member named /": lambda path: _renamed(path, "/tmp/escaped.npy"),
    "a member of no name": lambda path: _renamed(path, ".npy"),
    "a member of a wild name": lambda path: _renamed(path, "a\n\x1b[31mb.npy"),
    "a member twice": _twice,
    "bzip2": lambda path: _compressed(path, zipfile.ZIP_BZIP2),
    "lzma": lambda path: _compressed(path, zipfile.ZIP_LZMA),
    "damaged lzma": _lzma_damaged,
    "encrypted": lambda path: _flags(path, 6, 1),
    "unknown compression": lambda path: _flags(path, 8, 77),
    "empty archive": lambda path: _zipped(path).close(),
    "no archive": lambda path: path.write_bytes(b"hello\n" * 100) and None,
    "an array": lambda path: path.write_bytes(npy((3,), body=bytes(24))) and None,
    "an array of terabytes": lambda path: path.write_bytes(npy((10**12,))) and None,
    "a pickle": lambda path: (
        path.write_bytes(__import__("pickle").dumps(Trap())) and None
    ),
    "a bomb": _bomb,
    "a text member": lambda path: _zipped(path, obs=b"1,2\n").close(),
}


def npz_archives(folder: Path, rng: Rng, number: int) -> Made:
    """Every archive of `ARCHIVES`, alone and among episodes."""
    what = list(ARCHIVES)[number // 2 % len(ARCHIVES)]
    if number % 2:
        write_folder(folder / DATA, [episode(1, length=9, size=8)])
    (folder / DATA).mkdir(exist_ok=True)
    ARCHIVES[what](folder / DATA / "bad.npz")
    return what, ["info", f"{DATA}" if number % 2 else f"{DATA}/bad.npz"]


# --- HDF5

Write = Callable[[h5py.File, str, np.ndarray], object]


def _secret(array: np.ndarray) -> str:
    """Another file, which a dataset must not read: numbers that pass all checks."""
    with h5py.File("secret.hdf5", "w") as file:
        file["x"] = array
    Path("secret.raw").write_bytes(array.tobytes())
    return os.path.abspath("secret.hdf5")


def _external_storage(file: h5py.File, name: str, array: np.ndarray) -> None:
    _secret(array)
    raw = [("secret.raw", 0, array.nbytes)]
    file.create_dataset(name, array.shape, array.dtype, external=raw)


def _virtual(file: h5py.File, name: str, array: np.ndarray) -> None:
    layout = h5py.VirtualLayout(array.shape, array.dtype)
    layout[...] = h5py.VirtualSource(_secret(array), "x", array.shape)
    file.create_virtual_dataset(name, layout)


def _link(target: Callable[[np.ndarray], object]) -> Write:
    def write(file: h5py.File, name: str, array: np.ndarray) -> None:
        file[name] = target(array)

    return write


def _made(**options: object) -> Write:
    """A dataset that declares what its options say, and holds nothing."""

    def write(file: h5py.File, name: str, array: np.ndarray) -> None:
        given = {"shape": array.shape, "dtype": array.dtype, **options}
        if "rows" in given:
            given["shape"] = (given.pop("rows"), *array.shape[1:])
        file.create_dataset(name, **given)

    return write


def _huge_chunk(file: h5py.File, name: str, array: np.ndarray) -> None:
    """One compressed chunk of a gigabyte for a few rows."""
    rows = (1 << 30) // max(array[0].nbytes, 1)
    shape = (rows, *array.shape[1:])
    made = file.create_dataset(
        name, shape, array.dtype, chunks=shape, compression="gzip"
    )
    made.id.write_direct_chunk((0,) * len(shape), b"x" * (1 << 21))


def _references(file: h5py.File, name: str, array: np.ndarray) -> None:
    made = file.create_dataset(name, array.shape[:1], h5py.ref_dtype)
    made[...] = file.ref


def _unknown_filter(file: h5py.File, name: str, array: np.ndarray) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(array.shape)
    plist.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple(array.shape)
    kind = h5py.h5t.py_create(array.dtype)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, plist)
    made.write_direct_chunk((0,) * array.ndim, b"abc")


def _cycle(file: h5py.File, name: str, array: np.ndarray) -> None:
    group = file.create_group(name)
    group[name] = group
    group["up"] = file["/"]


def _text(file: h5py.File, name: str, array: np.ndarray) -> None:
    file[name] = np.array(["x"] * len(array), h5py.string_dtype())


def _enum(file: h5py.File, name: str, array: np.ndarray) -> None:
    kind = h5py.enum_dtype({"a": 0, "b": 1}, "i1")
    file.create_dataset(name, data=np.zeros(array.shape, "i1"), dtype=kind)


def _named_type(file: h5py.File, name: str, array: np.ndarray) -> None:
    file[name] = array.dtype


def _empty(file: h5py.File, name: str, array: np.ndarray) -> None:
    file[name] = h5py.Empty(array.dtype)


def _fifo_link(file: h5py.File, name: str, array: np.ndarray) -> None:
    os.mkfifo("pipe.hdf5")
    file[name] = h5py.ExternalLink("../pipe.hdf5", "x")


TRICKS: dict[str, Write] = {
    "external link": _link(lambda array: h5py.ExternalLink(_secret(array), "x")),
    "external link to a FIFO": _fifo_link,
    "external link to a device": _link(lambda _: h5py.ExternalLink("/dev/zero", "x")),
    "external link to itself": _link(lambda _: h5py.ExternalLink("bad.hdf5", "/")),
    "soft link": _link(lambda _: h5py.SoftLink("/elsewhere")),
    "dangling soft link": _link(lambda _: h5py.SoftLink("/nowhere")),
    "soft link to itself": _link(lambda _: h5py.SoftLink("/" * 3)),
    "external storage": _external_storage,
    "virtual": _virtual,
    "object references": _references,
    "a cycle of groups": _cycle,
    "unknown filter": _unknown_filter,
    "declared, not written": _made(),
    "chunked, not written": _made(chunks=True),
    "terabytes, not written": _made(rows=10**12),
    "terabytes in chunks": _made(rows=10**12, chunks=True, compression="gzip"),
    "a chunk of a gigabyte": _huge_chunk,
    "no rows yet": _made(rows=0, chunks=True, maxshape=None),
    "texts": _text,
    "an enumeration": _enum,
    "a named type": _named_type,
    "an empty dataspace": _empty,
    "a compound": _made(dtype=np.dtype([("a", "f4"), ("b", "f4")])),
    "arrays in a type": _made(dtype=np.dtype((np.float32, (10**6,)))),
    "opaque": _made(dtype=np.dtype("V8")),
    "complex": _made(dtype=np.dtype("c8")),
}


def hdf5(folder: Path, rng: Rng, number: int) -> Made:
    """Every trick of `TRICKS`, on an array of a shard and of D4RL's layout."""
    what = list(TRICKS)[number // 2 % len(TRICKS)]
    fields = SHARD if number % 2 else ROWS
    name = str(rng.choice(sorted(fields)))
    if name == "next_observations" or number % 10 == 0:
        name = next(iter(fields))
    (folder / DATA).mkdir()
    _write_trick(folder, fields, name, TRICKS[what])
    return f"{name}: {what}", ["info", f"{DATA}/bad.hdf5"]


def _write_trick(folder: Path, fields: dict, name: str, write: Write) -> None:
    from contextlib import chdir

    with chdir(folder), h5py.File(f"{DATA}/bad.hdf5", "w") as file:
        file["elsewhere"] = fields[name]
        for other, array in layouts.without(fields, name).items():
            file[other] = array
        write(file, name, fields[name])


def hdf5_everywhere(folder: Path, rng: Rng, number: int) -> Made:
    """The declared sizes of all arrays agree, and none is there."""
    rows = (10**12, 10**9, 10**6)[number // 2 % 3]
    fields = SHARD if number % 2 else ROWS
    options = ({}, {"chunks": True}, {"chunks": True, "compression": "gzip"})
    given = options[number // 6 % 3]
    (folder / DATA).mkdir()
    with h5py.File(folder / DATA / "bad.hdf5", "w") as file:
        for name, array in fields.items():
            _made(rows=rows, **given)(file, name, array)
    return f"{rows:,} rows declared, {given}", ["info", f"{DATA}/bad.hdf5"]


# --- what isn't a file


def _unreadable(path: Path) -> None:
    write_npz(path, EPISODE)
    path.chmod(0)


def _deep(path: Path) -> None:
    path.mkdir()
    write_npz(path / "x.npz", EPISODE)


PLACES: dict[str, Callable[[Path], None]] = {
    "a folder": Path.mkdir,
    "a folder of episodes": _deep,
    "a FIFO": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a FIFO": lambda path: (os.mkfifo("pipe"), path.symlink_to("../pipe")),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to its folder": lambda path: path.symlink_to("."),
    "an empty file": Path.touch,
    "a socket": lambda path: _socket(path),
    "unreadable": _unreadable,
}


def _socket(path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def places(folder: Path, rng: Rng, number: int) -> Made:
    """Every entry of `PLACES`, alone or among episodes, as either format."""
    from contextlib import chdir

    what = list(PLACES)[number // 4 % len(PLACES)]
    name = "0bad" + (".npz", ".hdf5")[number % 2]
    alone = number % 4 < 2
    (folder / DATA).mkdir()
    if not alone:
        write_folder(folder / DATA, [episode(1, length=9, size=8)])
    with chdir(folder):
        PLACES[what](Path(DATA, name))
    return f"{name} is {what}", ["info", f"{DATA}/{name}" if alone else DATA]


def roots() -> Iterator[tuple[str, list[str]]]:
    """Names of datasets that no dataset has."""
    yield "no such folder", ["info", "nowhere"]
    yield "an empty name", ["info", ""]
    yield "a device", ["info", "/dev/zero"]
    yield "a long name", ["info", "x" * 5000]
    yield "a zero byte", ["info", "a\x00b"]
    yield "a wild name", ["info", "a\n\x1b[31mb"]
    yield "no text", ["info", "\udcff"]
    yield "no such Minari", ["info", "minari:nothing/here-v0"]
    yield "Minari, above its root", ["info", "minari:../../etc"]
    yield "Minari, no name", ["info", "minari:"]
    yield "no such home", ["info", "~nobody-here/x"]
    yield "nothing", ["info"]
    yield "no command", []
    yield "unknown command", ["inof", DATA]
    yield "unknown flag", ["info", DATA, "--x"]
    yield "a sheet nowhere", ["info", DATA, "--contact-sheet", "no/such/x.png"]
    yield "a sheet on a folder", ["info", DATA, "--contact-sheet", DATA]
    yield "another task", ["info", DATA, "--task", "[/b]"]
    yield "a task of dots", ["info", DATA, "--task", "..", "--level", "../.."]
    yield "convert to itself", ["convert", DATA, DATA]
    yield "convert below itself", ["convert", DATA, "run/out", "--size", "0"]
    yield "convert, negative", ["convert", DATA, "run/out", "--size", "-3"]
    yield "convert, enormous", ["convert", DATA, "run/out", "--size", "1000000000"]
    yield "convert, a text", ["convert", DATA, "run/out", "--size", "big"]
    yield "convert into a file", ["convert", DATA, f"{DATA}/note.txt/out"]
    collect = ["collect", "--task", "walker_walk", "--level", "random", "--out", "run"]
    yield "collect, a text", [*collect, "--episodes", "x"]
    yield "collect, negative", [*collect, "--episodes", "-1"]
    yield "collect, no noise", [*collect, "--noise", "nan"]
    yield "collect, no suite", [*collect, "--suite", "atari"]
    yield "collect, size", [*collect, "--size", "-1"]
    yield "collect, huge size", [*collect, "--size", "1000000", "--episodes", "1"]
    yield "collect, another task", ["collect", "--task", "x", "--out", "run"]
    yield "collect, seed", [*collect, "--seed", "-5"]
    yield "collect, huge seed", [*collect, "--seed", str(10**30), "--episodes", "1"]
    maze = ["collect", "--suite", "pointmaze", "--task", "umaze", "--out", "run/x.hdf5"]
    yield "collect, no steps", [*maze, "--steps", "0"]
    yield "collect, noise", [*maze, "--steps", "100", "--noise", "inf"]
    yield "collect, seed of a maze", [*maze, "--steps", "100", "--seed", str(10**40)]
    yield "collect, out", [*maze[:-1], "run/x.txt", "--steps", "100"]


def commands(folder: Path, rng: Rng, number: int) -> Made:
    """Every command line of `roots`."""
    write_folder(folder / DATA, [episode(1, length=9, size=8)])
    (folder / DATA / "note.txt").touch()
    cases = list(roots())
    return cases[number % len(cases)]


KINDS: dict[str, Kind] = {
    "hostile .npz members": npz_members,
    "hostile .npz archives": npz_archives,
    "hostile HDF5": hdf5,
    "hollow HDF5": hdf5_everywhere,
    "not a file": places,
    "the loader's commands": commands,
}
