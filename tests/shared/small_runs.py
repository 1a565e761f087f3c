"""Runs that no training has changed, small enough for every test."""

import vd4rl_files
from untrained import write_run

from vd4rl_loader.collection.pointmaze import collect_pointmaze

IMAGES = {"data.image_size": 16, "latent.image": "patch", "latent.mults": (2, 3)}


def pixel_run(place):
    """Its folder, on two episodes of 20 images of 16 pixels."""
    data = place / "images/main/walker_walk/expert/64px"
    vd4rl_files.write_folder(
        data, [vd4rl_files.episode(seed, length=20) for seed in (0, 1)]
    )
    keys = IMAGES | {"task": "walker_walk-expert"}
    return write_run(place / "pixels", data, **keys).path


def maze_run(place, **keys):
    """Its folder, on 300 steps in a maze."""
    data = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    return write_run(place / "mlps", data, "maze", task="pointmaze-umaze", **keys).path
