"""The maze maps: D4RL's facts, and shortest paths against a slow computation."""

import numpy as np
import pytest

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.mazes import MAZES, find_maze

# Of D4RL's maps: size, goal cell, its centre, walls, cells to the goal, steps.
FACTS = {
    "umaze": ((5, 5), (3, 1), (0, 8), 18, 6, 700),
    "medium": ((8, 8), (6, 6), (20, 20), 38, 10, 1000),
    "large": ((9, 12), (7, 9), (32, 24), 62, 14, 1000),
    "ultra": ((12, 16), (10, 14), (52, 36), 103, 22, 2000),
}
mazes = pytest.mark.parametrize("maze", MAZES.values(), ids=MAZES)


def slow_distances(walls, cell):
    """Ever larger neighbourhoods of a cell, counted."""
    distances, reached = np.full(walls.shape, -1), np.zeros(walls.shape, bool)
    reached[cell] = True
    for step in range(walls.size):
        distances[reached & (distances < 0)] = step
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        reached = grown & ~walls
    return distances


@mazes
def test_maps_are_d4rls(maze):
    shape, goal, xy, walls, cells, steps = FACTS[maze.name]
    assert maze.walls.shape == shape and maze.walls.dtype == bool
    assert maze.start_cell == (1, 1) and maze.goal_cell == goal
    assert maze.xy(maze.start_cell).tolist() == [0, 0]
    assert tuple(maze.xy(maze.goal_cell)) == xy
    assert maze.distances(maze.start_cell)[goal] == cells
    assert maze.steps == steps
    assert maze.walls.sum() == walls


@mazes
def test_rims_are_walls_and_every_free_cell_is_reached(maze):
    inside = np.zeros(maze.walls.shape, bool)
    inside[1:-1, 1:-1] = True
    assert maze.walls[~inside].all()
    distances = maze.distances(maze.start_cell)
    np.testing.assert_array_equal(distances >= 0, ~maze.walls)
    np.testing.assert_array_equal(maze.free_cells(), np.argwhere(~maze.walls))


def test_x_grows_with_the_column_and_y_with_the_row():
    maze = MAZES["large"]
    assert maze.xy((2, 5)).tolist() == [16, 4]
    assert maze.cell((17.9, 2.1)).tolist() == [2, 5]
    cells = maze.free_cells().reshape(2, -1, 2)
    np.testing.assert_array_equal(maze.cell(maze.xy(cells)), cells)


def test_wall_boxes_are_the_walls_centres():
    maze = MAZES["umaze"]
    boxes = maze.wall_boxes()
    assert len(boxes) == len(set(boxes)) == 18
    assert {(0.0, 4.0), (-4.0, -4.0), (12.0, 12.0)} <= set(boxes)
    assert not {(0.0, 0.0), (8.0, 4.0)} & set(boxes)


@mazes
def test_distances_are_those_of_a_slow_computation(maze):
    for cell in map(tuple, maze.free_cells()[::5]):
        np.testing.assert_array_equal(
            maze.distances(cell), slow_distances(maze.walls, cell)
        )
    assert (maze.distances((0, 0)) == -1).all()


@mazes
def test_next_cells_are_beside_and_one_step_nearer(maze):
    free = maze.free_cells()
    here, there = free[:, None], free[None]
    following = maze.next_cell(here, there)
    assert following.shape == (len(free), len(free), 2)
    steps = np.abs(following - here).sum(-1)
    np.testing.assert_array_equal(steps, 1 - np.eye(len(free), dtype=int))
    for target in range(len(free)):
        distances = maze.distances(free[target])
        before = distances[tuple(free.T)]
        after = distances[tuple(following[:, target].T)]
        np.testing.assert_array_equal(after, np.maximum(before - 1, 0))


def test_an_unknown_maze_is_the_users_error():
    assert find_maze("medium") is MAZES["medium"]
    with pytest.raises(DataError, match="did you mean medium"):
        find_maze("medum")
