"""Writes V-D4RL's files from their description, independently of the loader."""

import h5py
import numpy as np


def episode(seed, length=70, size=16, actions=6):
    """The arrays of one published .npz file, with its dtypes."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-1, 1, (length, actions)).astype(np.float32)
    reward = rng.uniform(0, 2, length)
    action[0], reward[0] = 0, 0
    index = np.arange(length)
    return {
        "image": rng.integers(0, 256, (length, size, size, 3), dtype=np.uint8),
        "action": action,
        "reward": reward,
        "discount": np.ones(length),
        "is_first": index == 0,
        "is_last": index == length - 1,
        "is_terminal": np.zeros(length, bool),
    }


def write_npz(path, fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **fields)
    return path


def write_folder(folder, episodes):
    """One .npz per episode; returns the paths."""
    return [
        write_npz(folder / f"20220101T00000{i}-c0ffee{i}-501.npz", fields)
        for i, fields in enumerate(episodes)
    ]


def stream(episodes):
    """The rows of all episodes in the form of a .hdf5 shard."""
    step_types = []
    for fields in episodes:
        step_type = np.ones(len(fields["action"]))
        step_type[0], step_type[-1] = 0, 2
        step_types.append(step_type)
    rows = {
        "observation": np.concatenate([e["image"] for e in episodes]),
        "step_type": np.concatenate(step_types),
    }
    rows["observation"] = rows["observation"].transpose(0, 3, 1, 2)
    for key in ("action", "reward", "discount"):
        rows[key] = np.concatenate([e[key] for e in episodes])
    return rows


def write_hdf5(path, rows, start=0, stop=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, values in rows.items():
            file.create_dataset(
                key, data=values[start:stop], compression="gzip", **options
            )
    return path


def assert_holds(dataset, episodes):
    """The dataset is exactly these episodes, in this order."""
    lengths = [len(e["action"]) for e in episodes]
    np.testing.assert_array_equal(dataset.offsets, np.cumsum([0, *lengths]))
    for key in ("image", "action", "reward", "is_first", "is_last", "is_terminal"):
        stored = np.concatenate([e[key] for e in episodes])
        if key in ("action", "reward"):
            stored = stored.astype(np.float32)
        found = getattr(dataset, key)
        assert found.dtype == stored.dtype, key
        np.testing.assert_array_equal(found, stored, key)
