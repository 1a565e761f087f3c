"""MuJoCo models of a maze with an ant or a ball in it, and its view from above."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.mazes import CELL, Maze

if TYPE_CHECKING:
    import mujoco

CAMERA = "top"  # the whole maze: x to the right, y up

_WALL_HEIGHT = 2.0
_ANT_GEAR = 30.0
_ANT_TIMESTEP = 0.02  # seconds
_ANT_SOLIMP = (0.8, 0.8, 0.01)  # of all contacts
# Seen from far above the ant and the goal's circle are a few pixels wide: both stand
# on a disc of this radius, which nothing can touch.
_DISC_RADIUS = 1.1
_GROUND, _WALL = (0.86, 0.87, 0.88, 1), (0.23, 0.27, 0.33, 1)
_GOAL, _AGENT = (0.13, 0.75, 0.28, 1), (0.93, 0.42, 0.13, 1)
_LEGS = (0.35, 0.12, 0.02, 1)


def ant_model(maze: Maze) -> mujoco.MjModel:
    """D4RL's ant at the origin of the maze: 15 positions, 14 velocities, 8 motors.

    It is the ant that comes with gymnasium, with D4RL's motors, time step and contact
    parameters. Its parts collide with the floor and the walls, not with each other.

    Raises:
      DataError: gymnasium is not installed.
    """
    import mujoco

    spec = mujoco.MjSpec.from_file(_ant_file())
    spec.option.timestep = _ANT_TIMESTEP
    for motor in spec.actuators:
        motor.gear[0] = _ANT_GEAR
        motor.ctrlrange = (-1.0, 1.0)
    for geom in spec.geoms:
        geom.solimp[: len(_ANT_SOLIMP)] = _ANT_SOLIMP
        geom.rgba, geom.material = _LEGS, ""
    _add_maze(spec, maze, like=spec.geom("torso_geom"))
    spec.geom("torso_geom").rgba = _AGENT
    _add_halo(spec.body("torso"))
    for light in spec.lights:
        spec.delete(light)
    return spec.compile()


def ball_model(maze: Maze, radius: float) -> mujoco.MjModel:
    """A ball that is where its two positions, x and y, say. It has no dynamics.

    Args:
      maze: what is drawn around it.
      radius: of the ball, in metres.
    """
    import mujoco

    spec = mujoco.MjSpec()
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    spec.worldbody.add_geom(name="floor", type=plane, size=(1, 1, 1))
    ball = spec.worldbody.add_body(name="ball", pos=(0, 0, radius))
    for axis in np.eye(3)[:2]:
        ball.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
    geom = ball.add_geom(size=[radius] * 3, rgba=_AGENT)
    _add_maze(spec, maze, like=geom)
    _add_halo(ball)
    return spec.compile()


def place_goal(model: mujoco.MjModel, xy: np.ndarray) -> None:
    """Puts the green disc of `ant_model` or `ball_model` at xy [2], in metres."""
    model.site("goal").pos[:2] = xy


def _ant_file() -> str:
    gymnasium = importlib.util.find_spec("gymnasium")
    if gymnasium is None:
        raise DataError("AntMaze needs gymnasium: pip install gymnasium")
    return str(Path(gymnasium.origin).parent / "envs/mujoco/assets/ant.xml")


def _add_maze(spec: mujoco.MjSpec, maze: Maze, like: mujoco.MjsGeom) -> None:
    """Walls with the contact parameters of geom `like`; goal, colours and camera."""
    import mujoco

    half = CELL / 2
    for x, y in maze.wall_boxes():
        wall = spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(x, y, _WALL_HEIGHT / 2),
            size=(half, half, _WALL_HEIGHT / 2),
            rgba=_WALL,
            contype=1,
            conaffinity=1,
        )
        for field in ("condim", "margin", "friction", "solref", "solimp"):
            setattr(wall, field, getattr(like, field))
    _add_goal(spec)
    _add_view(spec, maze)


def _add_halo(body: mujoco.MjsBody) -> None:
    body.add_site(size=[_DISC_RADIUS] * 3, rgba=(*_AGENT[:3], 0.55))


def _add_goal(spec: mujoco.MjSpec) -> None:
    import mujoco

    spec.worldbody.add_site(
        name="goal",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0, 0, 0.05),
        size=(_DISC_RADIUS, 0.05, 0),
        rgba=_GOAL,
    )


def _add_view(spec: mujoco.MjSpec, maze: Maze) -> None:
    """The camera above; light ground in the maze, and around it all as dark as walls.

    The ground is a site over the floor, and the floor goes on without end.
    """
    import mujoco

    floor = spec.geom("floor")
    floor.material, floor.rgba, floor.size = "", _WALL, (0, 0, 1)
    rows, columns = maze.walls.shape
    middle = (CELL * (columns - 3) / 2, CELL * (rows - 3) / 2)
    spec.worldbody.add_site(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(*middle, 0),
        size=(CELL * columns / 2 - 1, CELL * rows / 2 - 1, 0.01),
        rgba=_GROUND,
    )
    spec.worldbody.add_camera(
        name=CAMERA,
        proj=mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC,
        fovy=CELL * (max(rows, columns) - 1),  # metres: up to the middle of the rim
        pos=(*middle, 20),
    )
    light = spec.visual.headlight
    light.ambient, light.diffuse, light.specular = [0.5] * 3, [0.45] * 3, [0.0] * 3
