"""Damaged datasets of every format, made from small valid ones.

A kind fills a folder `data` and gives what was done, and the arguments of the loader's
command: `kind(folder, rng, number)`, where `number` counts the kind's mutants.
"""

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from damage import Rng, damaged_arrays, damaged_bytes, damaged_tree
from states import layouts
from vd4rl_files import episode, stream, write_folder, write_hdf5, write_npz

from vd4rl_loader import RenderStyle
from vd4rl_loader.files import state_files

Made = tuple[str, list[str]]
Kind = Callable[[Path, Rng, int], Made]
DATA = "data"


def _pixels() -> dict[str, np.ndarray]:
    return episode(0, length=9, size=8)


def _good_neighbours(folder: Path) -> None:
    write_folder(folder, [episode(i, length=9, size=8) for i in (1, 2)])


def vd4rl_npz(folder: Path, rng: Rng, number: int) -> Made:
    """An episode of V-D4RL's 64 px format among good ones."""
    data = folder / DATA
    _good_neighbours(data)
    if number % 2:
        fields, what = damaged_arrays(_pixels(), rng)
        write_npz(data / "bad.npz", fields)
        return what, ["info", DATA]
    path = write_npz(data / "bad.npz", _pixels())
    return _with_damage(path, rng), ["info", DATA]


def vd4rl_hdf5(folder: Path, rng: Rng, number: int) -> Made:
    """A shard of V-D4RL's 84 px format among good ones."""
    data = folder / DATA
    good = stream([episode(i, length=9, size=8) for i in (1, 2)])
    write_hdf5(data / "1.hdf5", good)
    rows = stream([episode(i, length=9, size=8) for i in (3, 4)])
    if number % 2:
        rows, what = damaged_arrays(rows, rng)
        _write_hdf5(data / "bad.hdf5", rows)
        return what, ["info", DATA]
    path = write_hdf5(data / "bad.hdf5", rows)
    return _with_damage(path, rng), ["info", DATA]


def convert(folder: Path, rng: Rng, number: int) -> Made:
    """As both formats of V-D4RL, read to be written again."""
    make = vd4rl_npz if number % 2 else vd4rl_hdf5
    what, _ = make(folder, rng, number // 2)
    return what, ["convert", DATA, "run/out", *["--skip-bad"][: number % 3]]


def _columns(maze: bool) -> dict[str, np.ndarray]:
    ends = [(6, "terminal"), (5, "timeout"), (4, None)]
    return layouts.rows(ends, size=29 if maze else 3)


def d4rl(folder: Path, rng: Rng, number: int) -> Made:
    """D4RL's HDF5: locomotion."""
    return _d4rl(folder, rng, number, _columns(maze=False))


def antmaze(folder: Path, rng: Rng, number: int) -> Made:
    """D4RL's HDF5: AntMaze, with a goal and without next states."""
    fields = layouts.without(_columns(maze=True), "next_observations")
    return _d4rl(folder, rng, number, {**fields, "infos/goal": np.zeros((15, 2))})


def collected_d4rl(folder: Path, rng: Rng, number: int) -> Made:
    """What `collect` writes in D4RL's layout."""
    data = folder / DATA
    data.mkdir()
    fields, what = _columns(maze=False), ""
    if number % 2:
        fields, what = damaged_arrays(fields, rng)
        fields = {k: np.atleast_1d(_plain(v)) for k, v in fields.items()}
    path = data / "bad.hdf5"
    state_files.write_d4rl(path, fields, {"by": "a test"})
    return what or _with_damage(path, rng), ["info", f"{DATA}/bad.hdf5"]


def _d4rl(folder: Path, rng: Rng, number: int, fields: dict) -> Made:
    data = folder / DATA
    data.mkdir()
    what = ""
    if number % 2:
        fields, what = damaged_arrays(fields, rng)
    path = _write_hdf5(data / "bad.hdf5", fields)
    return what or _with_damage(path, rng), ["info", f"{DATA}/bad.hdf5"]


def neorl(folder: Path, rng: Rng, number: int) -> Made:
    """NeoRL's npz, as published or as `collect` writes it."""
    data = folder / DATA
    data.mkdir()
    path, what = data / "bad.npz", ""
    fields = layouts.neorl(_columns(maze=False), [6, 11, 15])
    if number % 2:
        fields, what = damaged_arrays(fields, rng)
        layouts.write_npz(path, fields)
    elif number % 4:
        layouts.write_npz(path, fields)
    else:
        state_files.write_neorl(path, _columns(maze=False), {"by": "a test"})
    return what or _with_damage(path, rng), ["info", f"{DATA}/bad.npz"]


def minari(folder: Path, rng: Rng, number: int) -> Made:
    """A dataset of Minari's, one of its files damaged."""
    import gymnasium
    from minari import data_collector
    from minari.dataset import minari_storage

    root = folder / DATA / "made" / "here-v0" / "data"
    root.mkdir(parents=True)
    box = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    storage = minari_storage.MinariStorage.new(
        root, observation_space=box, action_space=box, env_spec=None
    )
    fields = layouts.rows([(5, "timeout")], actions=3)
    steps = np.append(fields["observations"], fields["next_observations"][-1:], axis=0)
    buffer = data_collector.EpisodeBuffer(
        id=0,
        observations=steps,
        actions=fields["actions"],
        rewards=fields["rewards"].tolist(),
        terminations=fields["terminals"].tolist(),
        truncations=fields["timeouts"].tolist(),
    )
    storage.update_episodes([buffer])
    version = importlib.metadata.version("minari")
    about = {"dataset_id": "made/here-v0", "minari_version": version}
    storage.update_metadata(about)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = files[number % len(files)]
    if path.suffix == ".json" and rng.random() < 0.5:
        tree, what = damaged_tree(json.loads(path.read_text()), rng)
        path.write_text(json.dumps(tree))
    else:
        what = _with_damage(path, rng)
    return f"{path.name}: {what}", ["info", "minari:made/here-v0"]


def record(folder: Path, rng: Rng, number: int) -> Made:
    """The record `dataset.json` beside the episodes."""
    data = folder / DATA
    _good_neighbours(data)
    about = {
        "task": "walker_walk",
        "level": "random",
        "alignment": "arrival",
        "action_repeat": 2,
        "render": RenderStyle.named("vd4rl", 8).to_json(),
    }
    path = data / "dataset.json"
    if number % 4 == 0:
        path.write_text(json.dumps(about))
        return _with_damage(path, rng), ["info", DATA]
    tree, what = damaged_tree(about, rng)
    path.write_text(json.dumps(tree))
    return what, ["info", DATA]


def cache(folder: Path, rng: Rng, number: int) -> Made:
    """A cache that came with the data, one of its files damaged."""
    from vd4rl_loader.__main__ import main

    data = folder / DATA
    _good_neighbours(data)
    _silently(main, ["info", str(data)])
    files = sorted(path for path in (data / ".cache").glob("*/*") if path.is_file())
    path = files[number % len(files)]
    if path.suffix == ".json" and rng.random() < 0.7:
        tree, what = damaged_tree(json.loads(path.read_text()), rng)
        path.write_text(json.dumps(tree))
    elif path.suffix == ".npy" and rng.random() < 0.5:
        fields, what = damaged_arrays({path.stem: np.load(path)}, rng)
        np.save(path, next(iter(fields.values()), np.zeros(0)))
    else:
        what = _with_damage(path, rng)
    return f"{path.name}: {what}", ["info", DATA]


def _silently(main: Callable, arguments: list[str]) -> None:
    import contextlib
    import io

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        assert main(arguments) == 0


def _with_damage(path: Path, rng: Rng) -> str:
    content, what = damaged_bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return what


def _write_hdf5(path: Path, fields: dict[str, np.ndarray]) -> Path:
    """As their bytes where HDF5 has no type for them."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in fields.items():
            file[name.replace("\x00", "0")] = _plain(array)
    return path


def _plain(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "UM":
        return array
    return np.ascontiguousarray(np.atleast_1d(array)).view("u1")


KINDS: dict[str, Kind] = {
    "V-D4RL .npz": vd4rl_npz,
    "V-D4RL .hdf5": vd4rl_hdf5,
    "V-D4RL, converted": convert,
    "dataset.json": record,
    "cache": cache,
    "D4RL": d4rl,
    "AntMaze": antmaze,
    "D4RL, collected": collected_d4rl,
    "NeoRL": neorl,
    "Minari": minari,
}
