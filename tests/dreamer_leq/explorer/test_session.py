"""Dreams from moments under edited actions, beside what the environment does."""

import numpy as np
import pytest
from small_runs import maze_run, pixel_run

import dreamer_leq as dl
from dreamer_leq import UserError
from dreamer_leq.explorer import session as sessions
from dreamer_leq.explorer.script import python_lines
from dreamer_leq.explorer.session import DreamSession, Moment
from dreamer_leq.explorer.views import MAZE_SIDE, Bodies, Images, Paths, view_of

STEPS, PLAYED = 3, 8
RECORDED, HERE = Moment("dataset", 1, 5), Moment("played", 3, 2)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A session of each kind of run, in which 8 entries were played."""
    opened = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "LONGEST_EPISODE", PLAYED)
        for make in (pixel_run, maze_run):
            run = dl.load_run(make(tmp_path_factory.mktemp("runs")))
            found = DreamSession(run, run.open_dataset(log=lambda line: None))
            assert len(found.play(HERE.number)) == PLAYED
            opened[make.__name__] = found
    yield opened
    for found in opened.values():
        found.close()


@pytest.fixture(params=["pixel_run", "maze_run"])
def session(request, opened):
    return opened[request.param]


@pytest.fixture
def maze(opened):  # which compiles fast
    return opened["maze_run"]


def test_what_is_known_of_a_moment(maze):
    lengths = maze.lengths()
    assert lengths["played"] == {3: PLAYED} and len(lengths["dataset"]) > 1
    for moment in (RECORDED, HERE):
        real, model = maze.seen(moment), maze.reconstructed(moment)
        assert real.shape == model.shape and real.dtype == model.dtype
        said = maze.value(moment), maze.expected_reward(moment)
        assert np.isfinite(said).all()
    assert maze.can_simulate(HERE) and not maze.can_simulate(RECORDED)


def test_the_first_member_dreams_what_the_policy_makes_of_it(maze):
    actions = maze.actions(RECORDED, "policy", STEPS, seed=4)
    dream = maze.dream(RECORDED, actions, seed=4)
    start = maze.episode(RECORDED).latents[RECORDED.entry]
    alone = maze.run.imagine(start, horizon=STEPS, member=0, seed=4)
    np.testing.assert_allclose(dream.reward[0], alone.reward, rtol=1e-4, atol=1e-5)
    shape = maze.run.members, STEPS
    for found in (dream.value, dream.disagreement, dream.cont):
        assert found.shape == shape and np.isfinite(found).all()
    assert np.ptp(dream.disagreement[:, 0]) < 1e-6  # about the same first step
    assert (dream.disagreement >= 0).all() and dream.disagreement.max() > 0


def test_an_edit_changes_every_member_from_its_step_on(session):
    actions = session.actions(RECORDED, "zero", STEPS, seed=0)
    before = session.dream(RECORDED, actions, seed=0)
    actions[1, 0] = 1.0
    after = session.dream(RECORDED, actions, seed=0)
    changed = (after.seen != before.seen).reshape(session.run.members, STEPS, -1)
    assert changed.any(-1).tolist() == [[False, True, True]] * session.run.members


def test_kinds_of_actions(maze):
    kinds = {k: maze.actions(RECORDED, k, STEPS, 0) for k in sessions.KINDS}
    assert all(np.abs(found).max() <= 1 for found in kinds.values())
    assert not kinds["zero"].any() and len(np.unique(kinds["random"])) > STEPS
    entries = maze.episode(RECORDED).entries
    np.testing.assert_array_equal(kinds["data"], entries["action"][6 : 6 + STEPS])
    last = Moment(RECORDED.source, RECORDED.number, len(entries["action"]) - 2)
    data = maze.actions(last, "data", STEPS, 0)
    np.testing.assert_array_equal(data[0], entries["action"][-1])
    assert not data[1:].any() and len(maze.real(last, STEPS).reward) == 1


def test_the_environment_can_be_put_back_to_what_was_played_here(session):
    follow = PLAYED - 1 - HERE.entry
    actions = session.actions(HERE, "data", follow, 0)
    real = session.real(HERE, follow)
    for _ in range(2):  # the second time after its clock has gone on
        again = session.simulate(HERE, actions)
        np.testing.assert_array_equal(again.seen, real.seen)
        np.testing.assert_array_equal(again.reward, real.reward)
    session.begin_drive(HERE, member=1)
    for action, seen in zip(actions, real.seen, strict=True):
        driven = session.drive(action)
        np.testing.assert_array_equal(driven.real_seen, seen)
        assert driven.seen.shape == seen.shape and np.isfinite(driven.reward)
    session.begin_drive(RECORDED, member=0)
    assert session.drive(actions[0]).real_seen is None
    other = session.simulate(HERE, -np.ones_like(actions))
    assert (other.seen[-1] != real.seen[-1]).any()


def test_the_environments_clock_ends_no_simulation(maze):
    right = np.full((sessions.LONGEST, 2), [0.3, 0.0], np.float32)
    seen = [maze.simulate(HERE, right).seen for _ in range(8)]  # its clock: 700
    assert all(len(one) == sessions.LONGEST for one in seen)
    assert all((one == seen[0]).all() for one in seen)


@pytest.mark.parametrize("moment", [RECORDED, HERE])
def test_the_python_lines_dream_the_same(session, moment):
    run = session.run
    actions = session.actions(moment, "random", STEPS, 0)
    data = str(run._folder.facts.path)
    names = {}
    exec(python_lines(run.path, None, data, moment, actions, 7), names)
    dream = session.dream(moment, actions, 7)
    np.testing.assert_array_equal(names["dream"].reward, dream.reward)
    np.testing.assert_array_equal(names["seen"][run.observations[0]], dream.seen)


def test_what_there_is_not_is_said(maze):
    for moment in (
        Moment("dataset", 999, 0),
        Moment("played", 4, 0),
        Moment("x", 0, 0),
    ):
        with pytest.raises(UserError, match="there is no episode"):
            maze.value(moment)
    with pytest.raises(UserError, match="has no entry 9999"):
        maze.value(Moment("dataset", 0, 9999))
    with pytest.raises(UserError, match="give at most 100"):
        maze.dream(RECORDED, np.zeros((101, 2)), 0)
    with pytest.raises(UserError, match="can't be put back"):
        maze.simulate(RECORDED, np.zeros((1, 2)))
    with pytest.raises(UserError, match="actions 'all': give one of policy, data"):
        maze.actions(RECORDED, "all", 3, 0)


# --- pictures


def test_a_maze_shows_every_members_way():
    view = view_of({"suite": "pointmaze", "maze": "umaze"}, pixels=False)
    assert isinstance(view, Paths)
    start, east = np.zeros(2), np.array([1.0, 0.0])
    ways = np.array([1.0, 2.0, 3.0, 4.0])[:, None] * east
    seen = np.stack([ways, -0.3 * ways])
    pictures = view.dreamt(start, seen, real=0.0 * ways[:2])
    assert pictures.shape == (1, 4, MAZE_SIDE, MAZE_SIDE, 3)
    # blue goes to the right, and farther with every step; orange a bit to the left
    blue, orange = (59, 130, 214), (217, 119, 6)
    reach = [np.nonzero((one == blue).all(-1))[1].max() for one in pictures[0]]
    assert reach == sorted(reach) and reach[0] < reach[-1]
    columns = np.nonzero((pictures[0, -1] == orange).all(-1))[1]
    assert columns.min() < MAZE_SIDE // 2 < reach[-1]
    assert view.shown(seen).shape == (2, 4, MAZE_SIDE, MAZE_SIDE, 3)
    followed = view.followed(start, seen[0])[0]
    assert not (followed == blue).all(-1).any()  # by nobody who dreams
    assert (followed[0] != followed[-1]).any()
    view.dreamt(start, np.full_like(seen, np.nan), ways[:0])  # a model that ran away


def test_bodies_are_drawn_from_their_state():
    view = view_of({"suite": "gymnasium", "id": "Hopper-v4"}, pixels=False)
    assert isinstance(view, Bodies)
    seen = np.zeros((2, 1, 11), np.float32)
    seen[..., 0], seen[1, 0, 1] = 1.25, 1.0  # upright, and bent forward
    upright, bent = view.dreamt(seen[0, 0], seen, seen[0])[:, 0]
    assert upright.std() > 5 and (upright != bent).any()
    x_too = Bodies("Hopper-v4", x_position=True)
    same = np.concatenate([np.zeros((1, 1)), seen[:1, 0]], 1)
    np.testing.assert_array_equal(x_too.shown(same)[0], upright)


def test_what_can_not_be_drawn_has_no_view():
    assert view_of({"suite": "other"}, pixels=False) is None
    assert isinstance(view_of({"suite": "dm_control"}, pixels=True), Images)
