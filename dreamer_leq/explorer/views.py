"""How what a run observes is drawn: pictures [..., S, S, 3] of images or of states."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw

from dreamer_leq.envs.picture import Picture
from dreamer_leq.pages.charts import MEMBER_COLOURS
from vd4rl_loader.simulators.locomotion import make_locomotion
from vd4rl_loader.simulators.mazes import CELL, Maze, find_maze
from vd4rl_loader.simulators.opengl import check_rendering

BODY_SIDE, MAZE_SIDE = 96, 240  # pixels
BODIES_KEPT = 1024  # pictures
_ZOOMS = (12.0, 24.0)  # sides of what is shown of a maze, in metres, or all of it
_WALL, _GROUND, _GOAL = (58, 69, 84), (219, 222, 225), (47, 158, 92)
_REAL = (20, 22, 26)


class View(Protocol):
    """Draws observations of one kind of run."""

    together: bool  # whether one row of pictures shows all members, and what followed

    def shown(self, seen: np.ndarray) -> np.ndarray:
        """Pictures of observations [..., D] or [..., S, S, 3]."""
        ...

    def dreamt(
        self, start: np.ndarray, seen: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        """Pictures [R, H, S, S, 3] of a dream [M, H, ...] that began with `start`,
        beside what really followed, [h, ...].
        """
        ...

    def followed(self, start: np.ndarray, real: np.ndarray) -> np.ndarray:
        """Pictures [1, h, S, S, 3] of what followed `start` in an environment."""
        ...


def view_of(environment: Mapping[str, Any], pixels: bool) -> View | None:
    """The view of an environment's description; None: states that can't be drawn.

    Raises DataError where nothing here can render.
    """
    if pixels:
        return Images()
    if environment.get("maze"):
        return Paths(find_maze(environment["maze"]))
    if environment.get("suite") == "gymnasium":
        check_rendering()
        return Bodies(environment["id"], bool(environment.get("x_position")))
    return None


class Images:
    """What is seen already."""

    together = False

    def shown(self, seen: np.ndarray) -> np.ndarray:
        return seen

    def dreamt(
        self, start: np.ndarray, seen: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        return seen

    def followed(self, start: np.ndarray, real: np.ndarray) -> np.ndarray:
        return real[None]


class Bodies:
    """Locomotion in MuJoCo's picture; where a state lacks the position x, it is 0."""

    together = False

    def __init__(self, task: str, x_position: bool) -> None:
        self._env = make_locomotion(task, x_position)
        self._model = self._env.unwrapped.model
        self._model.vis.quality.offsamples = 0  # smooth edges would take most time
        self._missing = 0 if x_position else 1
        self._picture: Picture | None = None
        # an edit leaves the states before it as they were
        self._drawn = lru_cache(BODIES_KEPT)(self._draw)

    def shown(self, seen: np.ndarray) -> np.ndarray:
        flat = seen.reshape(-1, seen.shape[-1])
        positions = np.zeros((len(flat), self._model.nq))
        positions[:, self._missing :] = flat[:, : self._model.nq - self._missing]
        drawn = [self._drawn(qpos.tobytes()) for qpos in np.nan_to_num(positions)]
        return np.stack(drawn).reshape(*seen.shape[:-1], BODY_SIDE, BODY_SIDE, 3)

    def _draw(self, qpos: bytes) -> np.ndarray:
        # the rendering context is of the thread that draws first
        self._picture = self._picture or Picture(self._model, "track", BODY_SIDE)
        return self._picture.draw(np.frombuffer(qpos))

    def dreamt(
        self, start: np.ndarray, seen: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        return self.shown(seen)

    def followed(self, start: np.ndarray, real: np.ndarray) -> np.ndarray:
        return self.shown(real[None])


class Paths:
    """A maze from above: all members' ways so far in their colours, the real one
    black.
    """

    together = True

    def __init__(self, maze: Maze) -> None:
        self._maze = maze
        rows, columns = maze.walls.shape
        self._middle = CELL * np.array([columns - 3, rows - 3]) / 2
        self._whole = CELL * (max(rows, columns) - 1)
        self._empty = lru_cache(4)(self._draw_empty)

    def shown(self, seen: np.ndarray) -> np.ndarray:
        flat = seen.reshape(-1, seen.shape[-1])
        drawn = [self._drawn(xy, {_REAL: xy[None]}, self._whole) for xy in flat[:, :2]]
        return np.stack(drawn).reshape(*seen.shape[:-1], MAZE_SIDE, MAZE_SIDE, 3)

    def dreamt(
        self, start: np.ndarray, seen: np.ndarray, real: np.ndarray
    ) -> np.ndarray:
        start = start[:2]
        ways = {_REAL: np.concatenate([start[None], real[:, :2]])}
        for member, way in enumerate(seen[..., :2]):
            way = np.where(np.isfinite(way), way, start)
            ways[_rgb(member)] = np.concatenate([start[None], way])
        reach = 2.4 * max(np.abs(way - start).max() for way in ways.values())
        side = next((zoom for zoom in _ZOOMS if reach < zoom), self._whole)
        so_far = [
            {colour: way[:h] for colour, way in ways.items()}
            for h in range(2, 2 + seen.shape[1])
        ]
        return np.stack([self._drawn(start, some, side) for some in so_far])[None]

    def followed(self, start: np.ndarray, real: np.ndarray) -> np.ndarray:
        return self.dreamt(start, real[None][:0], real)  # by no member

    def _drawn(
        self, centre: np.ndarray, ways: Mapping[tuple, np.ndarray], side: float
    ) -> np.ndarray:
        """Ways [n, 2] in metres, in what is `side` wide around a point, or in all."""
        if side >= self._whole:
            centre, side = self._middle, self._whole
        image = self._empty(*map(float, centre), side).copy()
        draw = ImageDraw.Draw(image)
        for colour, way in ways.items():
            points = [tuple(point) for point in _pixels(way, centre, side)]
            if len(points) > 1:
                draw.line(points, colour, width=5, joint="curve")
            dot = np.array(points[-1])
            draw.ellipse([*(dot - 8), *(dot + 8)], colour)
        return np.asarray(image.reduce(2))

    def _draw_empty(self, x: float, y: float, side: float) -> Image.Image:
        """Walls and goal, `side` wide around a point, at twice the size."""
        centre, half = np.array([x, y]), CELL / 2 * 2 * MAZE_SIDE / side
        image = Image.new("RGB", (2 * MAZE_SIDE, 2 * MAZE_SIDE), _GROUND)
        draw = ImageDraw.Draw(image)
        for wall in _pixels(self._maze.wall_boxes(), centre, side):
            draw.rectangle([*(wall - half), *(wall + half)], _WALL)
        goal = _pixels(self._maze.xy(self._maze.goal_cell), centre, side)
        draw.ellipse([*(goal - half / 3), *(goal + half / 3)], _GOAL)
        return image


def _pixels(xy: Any, centre: np.ndarray, side: float) -> np.ndarray:
    """Where points [..., 2] are drawn: at twice the size, and made smooth then."""
    offset = (np.asarray(xy) - centre) * (1, -1)  # y is up
    return np.clip((offset + side / 2) * 2 * MAZE_SIDE / side, -1e4, 1e4)


def _rgb(member: int) -> tuple[int, int, int]:
    colour = MEMBER_COLOURS[member % len(MEMBER_COLOURS)]
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
