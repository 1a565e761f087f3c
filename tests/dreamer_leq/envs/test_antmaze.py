"""AntMaze against the facts of D4RL's, and against another library's same ant."""

import tempfile

import numpy as np
import pytest

from dreamer_leq.envs.antmaze import AntMaze
from dreamer_leq.envs.maze_model import ant_model
from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.mazes import MAZES

# Goal cells' centres and time limits, as D4RL (and for ultra its later fork) has them.
GOALS = {"umaze": (0, 8), "medium": (20, 20), "large": (32, 24), "ultra": (52, 36)}
LIMITS = {"umaze": 700, "medium": 1000, "large": 1000, "ultra": 2000}


def move_to(env, xy, velocity=(0.0, 0.0)):
    """Puts the ant down somewhere, lying flat and gliding with some velocity."""
    import mujoco

    mujoco.mj_resetData(env.model, env.data)
    env.data.qpos[:2], env.data.qvel[:2] = xy, velocity
    mujoco.mj_forward(env.model, env.data)


@pytest.fixture(scope="module")
def umaze():
    return AntMaze("umaze", seed=0)


def test_the_model_has_d4rls_numbers(umaze):
    import mujoco

    model = umaze.model
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    assert model.opt.timestep == 0.02
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert (model.actuator_gear[:, 0] == 30).all()
    assert (model.actuator_ctrlrange == [-1, 1]).all()
    np.testing.assert_array_equal(
        model.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * model.ngeom
    )
    joints = [model.joint(model.actuator_trnid[i, 0]).name for i in range(8)]
    assert joints == [
        f"{kind}_{leg}" for leg in (4, 1, 2, 3) for kind in ("hip", "ankle")
    ]


def test_an_action_takes_a_tenth_of_a_second(umaze):
    umaze.reset()
    umaze.step(np.zeros(8))
    umaze.step(np.zeros(8))
    assert umaze.data.time == pytest.approx(0.2)


def test_the_vector_is_positions_then_velocities(umaze):
    first = umaze.reset()
    second = umaze.step(np.full(8, 0.5, np.float32))
    for seen in (first, second):
        assert seen["vector"].shape == (29,) and seen["vector"].dtype == np.float32
        assert seen["reward"].dtype == np.float32 and seen["reward"] == 0
        for key in ("is_first", "is_last", "is_terminal"):
            assert seen[key].dtype == bool
    np.testing.assert_array_equal(second["vector"][:15], np.float32(umaze.data.qpos))
    np.testing.assert_array_equal(second["vector"][15:], np.float32(umaze.data.qvel))
    assert first["is_first"] and not second["is_first"]


def test_episodes_start_near_the_origin(umaze):
    starts = np.array([umaze.reset()["vector"] for _ in range(1000)], np.float64)
    offset = starts[:, :15] - [0, 0, 0.75, 1, *[0] * 11]
    assert np.abs(offset).max() <= 0.1 + 1e-6
    np.testing.assert_allclose(offset.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(offset.std(0), 0.2 / np.sqrt(12), rtol=0.07)
    np.testing.assert_allclose(starts[:, 15:].mean(0), 0, atol=0.016)
    np.testing.assert_allclose(starts[:, 15:].std(0), 0.1, rtol=0.1)
    assert np.abs(starts[:, 15:]).max() > 0.3  # normal, not uniform


@pytest.mark.parametrize("maze", GOALS)
def test_goals_are_d4rls(maze):
    env, goals = AntMaze(maze, seed=1), []
    for _ in range(1500):
        env.reset()
        goals.append(env.goal)
    beyond = np.array(goals) - GOALS[maze]
    assert beyond.min() >= 0 and beyond.max() <= 1.5
    np.testing.assert_allclose(beyond.mean(0), 0.75, atol=0.04)
    np.testing.assert_allclose(beyond.var(0), (1 + 0.25) / 12, rtol=0.12)
    assert abs(np.corrcoef(beyond.T)[0, 1]) < 0.1
    # How often the success region used in imagination and the real one overlap.
    near = np.linalg.norm(beyond - 0.75, axis=1)
    assert np.mean(near <= 0.5) == pytest.approx(0.66, abs=0.04)
    assert np.mean(near <= 0.25) == pytest.approx(0.195, abs=0.035)


def test_seeds_decide_goals_and_states_of_every_episode():
    def episodes(seed):
        env, seen = AntMaze("medium", seed), []
        for _ in range(3):
            env.reset()
            seen.append([*env.step(np.full(8, 0.1))["vector"], *env.goal])
        return np.array(seen)

    np.testing.assert_array_equal(episodes(5), episodes(5))
    assert (episodes(5)[0] != episodes(6)[0]).all()
    assert (np.diff(episodes(5)[:, -2:], axis=0) != 0).all()


def test_success_is_within_half_a_metre():
    env = AntMaze("umaze", seed=0)
    for distance, success in ((0.52, False), (0.48, True)):
        env.reset()
        move_to(env, env.goal - [distance, 0])
        seen = env.step(np.zeros(8))
        gap = np.linalg.norm(seen["vector"][:2] - env.goal)
        assert abs(gap - distance) < 0.01  # the ant falls, and hardly drifts
        assert seen["reward"] == success
        assert bool(seen["is_terminal"]) == bool(seen["is_last"]) == success
    with pytest.raises(RuntimeError, match="over"):
        env.step(np.zeros(8))


@pytest.mark.parametrize("maze", LIMITS)
def test_the_clock_ends_an_episode_without_a_terminal(maze):
    env = AntMaze(maze, seed=0)
    with pytest.raises(RuntimeError, match=r"reset\(\)"):
        env.step(np.zeros(8))
    env.reset()
    env._steps = LIMITS[maze] - 2
    before, last = env.step(np.zeros(8)), env.step(np.zeros(8))
    assert not before["is_last"] and last["is_last"]
    assert not last["is_terminal"] and last["reward"] == 0


def test_falling_on_its_back_ends_nothing(umaze):
    umaze.reset()
    umaze.data.qpos[2:7] = 0.3, 0, 1, 0, 0
    assert not any(umaze.step(np.zeros(8))["is_last"] for _ in range(20))


def test_actions_are_clipped():
    ends = []
    for action in (3.0, 1.0):
        env = AntMaze("umaze", seed=0)
        env.reset()
        ends.append(env.step(np.full(8, action))["vector"])
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("maze", GOALS)
def test_walls_stand_where_the_map_has_them(maze):
    """A ray from the sky meets a wall at 2 m, or the floor."""
    import mujoco

    model = ant_model(MAZES[maze])
    data = mujoco.MjData(model)
    data.qpos[2] = -50  # the ant does not stand in the way
    mujoco.mj_forward(model, data)
    for i, row in enumerate(MAZES[maze].rows):
        for j, letter in enumerate(row):
            for corner in ((-1.9, -1.9), (1.9, 1.9)):
                sky = np.array([4 * j - 4 + corner[0], 4 * i - 4 + corner[1], 10.0])
                depth = mujoco.mj_ray(
                    model,
                    data,
                    sky,
                    np.array([0, 0, -1.0]),
                    None,
                    1,
                    -1,
                    np.zeros(1, np.int32),
                )
                assert depth == pytest.approx(8 if letter == "1" else 10)


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_an_ant_thrown_at_a_wall_never_passes_it(umaze, direction):
    """From where it starts, the face of the wall that it is thrown at is 2 m away."""
    umaze.reset()
    start = {(1, 0): (8, 4), (-1, 0): (0, 0), (0, 1): (4, 0), (0, -1): (0, 0)}[
        direction
    ]
    move_to(umaze, start, 8 * np.array(direction))
    furthest, touched = 0.0, False
    for _ in range(40):
        umaze.data.qvel[:2] += direction  # pushed on and on
        seen = umaze.step(np.zeros(8))
        moved = (seen["vector"][:2] - start) @ direction
        furthest, touched = max(furthest, moved), touched or moved > 0.8
    assert touched, "the ant never came near the wall"
    assert 1.0 < furthest < 1.85  # the torso's radius is 0.25 m


def test_its_parts_do_not_collide_with_each_other(umaze):
    """Folded as far as the joints go, only the floor and walls are touched."""
    rng = np.random.default_rng(0)
    umaze.reset()
    touched = 0
    for _ in range(30):
        umaze.step(rng.choice([-1.0, 1.0], 8))
        for contact in umaze.data.contact:
            bodies = umaze.model.geom_bodyid[contact.geom]
            assert bodies.min() == 0  # one of the two belongs to the world
            touched += 1
    assert touched


def test_an_unknown_maze_is_the_users_error():
    with pytest.raises(DataError, match="umaze"):
        AntMaze("u-maze", seed=0)


def test_the_dynamics_are_bit_for_bit_those_of_another_librarys_ant(
    monkeypatch, tmp_path
):
    """ogbench ships D4RL's ant; here both walk, fall and hit the walls of "medium"."""
    maze = pytest.importorskip("ogbench.locomaze.maze")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # it leaves its XML there
    theirs = maze.make_maze_env("ant", "maze", maze_type="medium")
    theirs.reset(seed=0)
    env = AntMaze("medium", seed=0)
    rng = np.random.default_rng(0)
    walls = 0
    for start, velocity in (((0.0, 0.0), (0, 0)), ((20.0, 20.0), (6, 4))):
        env.reset()
        move_to(env, start, velocity)
        theirs.data.time = 0
        theirs.set_state(env.data.qpos.copy(), env.data.qvel.copy())
        theirs.data.qacc_warmstart[:] = env.data.qacc_warmstart
        env.goal = np.full(2, 100.0)
        for _ in range(100):
            action = rng.uniform(-1, 1, 8)
            env.step(action)
            theirs.do_simulation(action, theirs.frame_skip)
            np.testing.assert_array_equal(env.data.qpos, theirs.data.qpos)
            np.testing.assert_array_equal(env.data.qvel, theirs.data.qvel)
            walls += _touches_wall(env)
    assert walls > 5
    theirs.close()


def _touches_wall(env):
    import mujoco

    box = mujoco.mjtGeom.mjGEOM_BOX
    return any((env.model.geom_type[c.geom] == box).any() for c in env.data.contact)


def test_pictures_show_the_ant_the_goal_and_the_walls_from_above():
    filmed, plain = AntMaze("large", 0, image=True), AntMaze("large", 0)
    seen = filmed.reset()
    assert "image" not in plain.reset()
    action = np.full(8, 0.4)
    np.testing.assert_array_equal(
        filmed.step(action)["vector"], plain.step(action)["vector"]
    )
    image = seen["image"].astype(int)
    assert image.shape == (192, 192, 3) and seen["image"].dtype == np.uint8
    red, green, blue = np.moveaxis(image, -1, 0)
    metres = 4 * 11 / 192  # of a pixel
    for mask, xy in (
        (green > red + 60, filmed.goal),
        (red > blue + 60, seen["vector"][:2]),
    ):
        rows, columns = np.nonzero(mask)
        x, y = columns.mean() + 0.5, 192 - rows.mean() - 0.5
        at = (np.array([x, y]) - 96) * metres + [18, 12]
        np.testing.assert_allclose(at, xy, atol=0.4)
        assert mask.sum() > 40
    assert (image[0] < 100).all()  # beyond the maze it is dark
    far = filmed.step(action)["image"]
    move_to(filmed, (20.0, 4.0))
    assert (filmed._image() != far).any()
    filmed.close()
