"""The maps of D4RL's mazes, in its frame: metres, the start cell's centre at (0, 0)."""

from __future__ import annotations

import difflib
from collections import deque
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vd4rl_loader.errors import DataError

CELL = 4.0  # side of a cell, in metres
_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Maze:
    """One maze of R x C cells. A cell is (row, column); x grows with the column.

    Attributes:
      name: its key in MAZES.
      rows: the map: "1" wall, "0" free, "r" the start, "g" the goal. Its rim is wall.
      steps: after how many steps an episode times out.
    """

    name: str
    rows: tuple[str, ...]
    steps: int

    @cached_property
    def walls(self) -> np.ndarray:
        """Cells that are walls, bool [R, C]."""
        return np.array([[letter == "1" for letter in row] for row in self.rows])

    @cached_property
    def start_cell(self) -> tuple[int, int]:
        """The cell where episodes start."""
        return self._find("r")

    @cached_property
    def goal_cell(self) -> tuple[int, int]:
        """The cell that episodes shall reach."""
        return self._find("g")

    def xy(self, cell: npt.ArrayLike) -> np.ndarray:
        """Centres float64 [..., 2] of cells [..., 2]."""
        return CELL * (np.asarray(cell)[..., ::-1] - 1.0)

    def cell(self, xy: npt.ArrayLike) -> np.ndarray:
        """The cells int [..., 2] in which points [..., 2] lie."""
        return np.rint(np.asarray(xy)[..., ::-1] / CELL).astype(int) + 1

    def free_cells(self) -> np.ndarray:
        """All cells that are not walls, int [F, 2]."""
        return np.argwhere(~self.walls)

    def wall_boxes(self) -> list[tuple[float, float]]:
        """The centres (x, y) of all walls, each a square with side CELL."""
        return [(float(x), float(y)) for x, y in self.xy(np.argwhere(self.walls))]

    def distances(self, cell: npt.ArrayLike) -> np.ndarray:
        """Steps from cell to cell between one and all others, int [R, C].

        Walls, and what cannot be reached, have -1.
        """
        row, column = np.asarray(cell)
        return self.all_distances[row, column].copy()

    @cached_property
    def all_distances(self) -> np.ndarray:
        """`distances` from every cell, int [R, C, R, C]; all -1 from walls."""
        found = np.full(2 * self.walls.shape, -1)
        for row, column in self.free_cells():
            _flood(self.walls, (row, column), found[row, column])
        found.setflags(write=False)
        return found

    def next_cell(self, here: npt.ArrayLike, there: npt.ArrayLike) -> np.ndarray:
        """The first cells int [..., 2] on shortest paths between free cells [..., 2].

        Where there is no path, and where it is over, that is `here`.
        """
        here, there = np.asarray(here), np.asarray(there)
        rows, columns = here[..., 0], here[..., 1]
        return self._next_cells[rows, columns, there[..., 0], there[..., 1]]

    @cached_property
    def _next_cells(self) -> np.ndarray:
        """`next_cell` for every pair of cells, int [R, C, R, C, 2]."""
        rows, columns = self.walls.shape
        table = np.empty((rows, columns, rows, columns, 2), int)
        table[...] = np.indices((rows, columns)).transpose(1, 2, 0)[:, :, None, None]
        for row, column in self.free_cells():
            for step in _NEIGHBOURS:
                near = row + step[0], column + step[1]
                closer = self.all_distances[near] == self.all_distances[row, column] - 1
                table[row, column][closer & ~self.walls[near]] = near
        return table

    def _find(self, letter: str) -> tuple[int, int]:
        row = next(i for i, letters in enumerate(self.rows) if letter in letters)
        return row, self.rows[row].index(letter)


def _flood(walls: np.ndarray, cell: tuple[int, int], distances: np.ndarray) -> None:
    """Writes the distances from `cell` into `distances`, which holds -1 everywhere."""
    distances[cell] = 0
    frontier = deque([cell])
    while frontier:
        row, column = frontier.popleft()
        for step in _NEIGHBOURS:
            near = row + step[0], column + step[1]
            if not walls[near] and distances[near] < 0:
                distances[near] = distances[row, column] + 1
                frontier.append(near)


def find_maze(name: str) -> Maze:
    """The maze of a name.

    Raises:
      DataError: there is no such maze; names the nearest one.
    """
    if name in MAZES:
        return MAZES[name]
    near = difflib.get_close_matches(name, MAZES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise DataError(f"unknown maze {name!r}: give one of {', '.join(MAZES)}{hint}")


_UMAZE = """
11111
1r001
11101
1g001
11111
"""
_MEDIUM = """
11111111
1r011001
10010001
11000111
10010001
10100101
100010g1
11111111
"""
_LARGE = """
111111111111
1r0001000001
101101010101
100000010001
101111011101
100101000001
110101010111
100100010g01
111111111111
"""
_ULTRA = """
1111111111111111
1r00000010000001
1011101010110101
1011101000010101
1000101101110101
1010001000000001
1000100010111011
1010111010001011
1000000010100001
1101101000111101
11010010100000g1
1111111111111111
"""
MAZES = {
    name: Maze(name, tuple(text.split()), steps)
    for name, text, steps in (
        ("umaze", _UMAZE, 700),
        ("medium", _MEDIUM, 1000),
        ("large", _LARGE, 1000),
        ("ultra", _ULTRA, 2000),
    )
}
