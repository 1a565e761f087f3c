"""PointMaze's physics against a slow one, its task, and the waypoint controller."""

import numpy as np
import pytest

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.mazes import MAZES
from vd4rl_loader.simulators.pointmaze import PointMaze, move, waypoint_action

mazes = pytest.mark.parametrize("maze", MAZES.values(), ids=MAZES)


def clearance(maze, xy):
    """Distance of points [..., 2] to the nearest wall, a square of side 4, along the
    axis on which it is larger.
    """
    boxes = np.array(maze.wall_boxes())
    outside = np.abs(np.asarray(xy, np.float64)[..., None, :] - boxes) - 2
    return np.maximum(outside, 0).max(-1).min(-1)


def free_points(maze, count, rng):
    """Random places of the point, half of them within 0.2 m of a wall."""
    size = 4 * np.array(maze.walls.shape[::-1])
    points = rng.uniform(0, 1, (300 * count, 2)) * size - 6
    space = clearance(maze, points)
    near = points[(space > 0.4001) & (space < 0.6)][: count // 2]
    far = points[space > 0.6][: count - len(near)]
    return np.concatenate([near, far]).astype(np.float32)


def slow_move(maze, xy, way, pieces=1000):
    """Goes along the vector `way`, piece by piece while the point touches nothing."""
    path = xy + np.linspace(0, 1, pieces + 1)[:, None] * way
    touching = clearance(maze, path) < 0.4
    return path[max(np.argmax(touching) - 1, 0) if touching.any() else -1]


@mazes
@pytest.mark.parametrize("axis", [0, 1])
def test_moves_are_those_of_a_slow_simulation(maze, axis):
    rng = np.random.default_rng(0)
    xy = free_points(maze, 100, rng)
    action = np.zeros(xy.shape)
    action[:, axis] = rng.uniform(-1, 1, len(xy))
    moved = move(maze, xy, action)
    expected = [slow_move(maze, *pair) for pair in zip(xy, 0.5 * action, strict=True)]
    np.testing.assert_allclose(moved, expected, atol=5.2e-4)  # a piece, and rounding
    assert (np.abs(moved - xy - 0.5 * action) > 1e-3).sum() > 5  # some were blocked


def test_moves_go_along_x_and_then_along_y():
    maze, rng = MAZES["large"], np.random.default_rng(0)
    xy = free_points(maze, 500, rng)
    action = rng.uniform(-1, 1, xy.shape)
    first = move(maze, xy, action * [1, 0])
    np.testing.assert_array_equal(
        move(maze, xy, action), move(maze, first, action * [0, 1])
    )


@mazes
def test_points_never_enter_walls(maze):
    rng = np.random.default_rng(1)
    xy = free_points(maze, 100, rng)
    for _ in range(300):
        xy = move(maze, xy, rng.choice([-1.0, 1.0, 0.3], xy.shape))
        assert xy.dtype == np.float32
        assert clearance(maze, xy).min() >= 0.4


def test_points_slide_along_walls_across_cells():
    maze, xy = MAZES["umaze"], np.zeros((1, 2), np.float32)
    for _ in range(16):
        xy = move(maze, xy, [[1.0, -1.0]])
    np.testing.assert_allclose(xy, [[8.0, -1.6]], atol=2e-5)


def test_a_diagonal_push_never_rests_on_an_outer_corner():
    maze, xy = MAZES["large"], np.array([[1.5, 1.5]], np.float32)
    for _ in range(4):
        before, xy = xy, move(maze, xy, [[1.0, 1.0]])
        assert np.abs(xy - before).max() > 0.4


def test_actions_are_clipped():
    maze = MAZES["umaze"]
    np.testing.assert_allclose(
        move(maze, [[0, 0], [0, 0]], [[7.0, -9.0], [0.5, 0.2]]),
        [[0.5, -0.5], [0.25, 0.1]],
    )


def test_observations_begin_around_the_start_and_follow_the_seed():
    env, again, other = (PointMaze("large", seed) for seed in (3, 3, 4))
    first = [env.reset() for _ in range(200)]
    np.testing.assert_array_equal(first, [again.reset() for _ in range(200)])
    assert not np.array_equal(first[0], other.reset())
    assert first[0].dtype == np.float32 and first[0].shape == (2,)
    assert -1 <= np.min(first) < -0.95 and 0.95 < np.max(first) <= 1
    observation, *_ = env.step(np.float32([1, 0]))
    np.testing.assert_array_equal(observation, move(env.maze, first[-1:], [[1, 0]])[0])


@pytest.mark.parametrize("distance, reached", [(0.49, True), (0.51, False)])
def test_success_is_within_half_a_metre_of_the_goal(distance, reached):
    env = PointMaze("medium", 0)
    env.reset()
    env.xy = np.float32([20 - distance, 20])
    _, reward, terminal, timeout = env.step(np.zeros(2, np.float32))
    assert (reward, terminal, timeout) == (float(reached), reached, False)
    if reached:
        with pytest.raises(RuntimeError, match="over"):
            env.step(np.zeros(2))


def test_time_is_over_after_the_mazes_steps():
    env = PointMaze("umaze", 0)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(2))
    env.reset()
    results = [env.step(np.zeros(2, np.float32))[1:] for _ in range(700)]
    assert results == [(0.0, False, False)] * 699 + [(0.0, False, True)]
    with pytest.raises(RuntimeError, match="over"):
        env.step(np.zeros(2))


def test_success_in_the_last_step_is_no_timeout():
    env = PointMaze("umaze", 0)
    env.reset()
    for _ in range(699):
        env.step(np.zeros(2))
    env.xy = np.float32([0, 8])
    assert env.step(np.zeros(2))[1:] == (1.0, True, False)


def test_an_unknown_maze_is_the_users_error():
    with pytest.raises(DataError, match="unknown maze 'tiny'"):
        PointMaze("tiny", 0)


@mazes
def test_the_controller_walks_shortest_paths(maze):
    rng = np.random.default_rng(2)
    cells = maze.distances(maze.start_cell)[maze.goal_cell]
    xy = np.zeros((3, 2), np.float32)
    for _ in range(8 * cells):
        action = waypoint_action(maze, xy, maze.goal_cell, rng, noise=0.0)
        assert np.linalg.norm(action, axis=-1).max() < 1 + 1e-6
        xy = move(maze, xy, action)
    away = np.linalg.norm(xy - maze.xy(maze.goal_cell), axis=-1)
    assert (away <= 0.5).all()


def test_the_controllers_noise_has_the_given_scale_and_is_clipped():
    maze, rng = MAZES["umaze"], np.random.default_rng(3)
    xy = np.zeros((20_000, 2), np.float32)
    action = waypoint_action(maze, xy, (1, 2), rng, noise=0.3)  # along x
    assert action.dtype == np.float32 and np.abs(action).max() <= 1
    np.testing.assert_allclose(action[:, 1].std(), 0.3, rtol=0.02)
    np.testing.assert_allclose((action[:, 0] == 1).mean(), 0.5, atol=0.02)
    targets = np.tile([[1, 2], [1, 1]], (10_000, 1))
    still = waypoint_action(maze, xy, targets, rng, noise=0.0)
    np.testing.assert_array_equal(still[:2], [[1, 0], [0, 0]])
