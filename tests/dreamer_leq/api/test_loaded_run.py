"""A run from Python: the same questions to world models of both kinds."""

import json
import shutil
from functools import cache

import numpy as np
import pytest
from small_runs import maze_run, pixel_run

import dreamer_leq as dl

KINDS = ("pixels", "mlps")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of a kind, on 300 steps in a maze or on 2 episodes of 16 pixels."""
    place = tmp_path_factory.mktemp("runs")

    @cache
    def loaded(kind):
        make = pixel_run if kind == "pixels" else maze_run
        return dl.load_run(make(place))

    return loaded


@pytest.fixture(params=KINDS)
def run(request, runs):
    return runs(request.param)


@pytest.fixture
def maze(runs):
    return runs("mlps")


@cache
def dataset_of(run):
    return run.open_dataset(log=lambda line: None)


def an_episode(run):
    """One of more than 9 entries."""
    dataset = dataset_of(run)
    longest = np.diff(dataset.offsets).argmax()
    return {name: array[:10] for name, array in dataset.episode(longest).items()}


@cache
def encoded(run):
    return run.encode(an_episode(run))


def same(a, b, rtol=1e-4):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5)


# --- what comes back


def test_what_a_run_says_of_itself(run):
    episode = an_episode(run)
    assert run.observations[0] in episode and len(run.observations) == 1
    assert episode["action"].shape == (10, run.action_size)
    assert run.members == 2 and run.config.leq.horizon == 3
    assert run.config.task in repr(run) and str(run.path) in repr(run)


def test_an_episode_becomes_latents(run):
    latents = encoded(run)
    assert latents.shape == (10,) and len(latents) == 10
    assert all(array.shape[:1] == (10,) for array in latents.state.values())
    assert latents.features.dtype == np.float32 and latents.features.ndim == 2
    assert latents[3].shape == () and latents[[1, 4]].shape == (2,)
    np.testing.assert_array_equal(latents[2:].features, latents.features[2:])
    with pytest.raises(IndexError):
        latents[10]


def test_a_state_is_inferred_from_what_came_before_it(run):
    episode = an_episode(run)
    later = {name: array.copy() for name, array in episode.items()}
    later["action"][5] = -later["action"][5]
    later["action"][0] = 1  # led to nothing
    seen = run.observations[0]
    later[seen][7] += 1
    differs = (run.encode(later).features != encoded(run).features).any(-1)
    assert not differs[:5].any() and differs[7]
    assert differs[5] == ("deter" in encoded(run).state)


def test_episodes_in_a_row_are_encoded_each_on_its_own(run):
    episode = an_episode(run)
    twice = {name: np.concatenate([array] * 2) for name, array in episode.items()}
    twice["is_first"] = np.arange(20) % 10 == 0
    both = run.encode(twice)
    if "deter" in both.state:  # the first action leads to nothing: no chance in deter
        same(both.state["deter"][10], both.state["deter"][0])
    assert both.shape == (20,)


# In what follows, 4 states and 3 steps: for each world model few programs.


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_shapes_of_what_is_imagined(run, shape):
    start = encoded(run)[np.arange(4).reshape(shape)]
    lead = (run.members, *shape)
    imagined = run.imagine(start, np.zeros((3, run.action_size)), member="all")
    assert imagined.latents.shape == imagined.reward.shape == (*lead, 3)
    assert imagined.cont.shape == (*lead, 3)
    assert imagined.action.shape == (*lead, 3, run.action_size)
    seen = run.decode(imagined.latents[0])[run.observations[0]]
    entry = an_episode(run)[run.observations[0]]
    assert seen.shape == (*shape, 3, *entry.shape[1:]) and seen.dtype == entry.dtype


def test_values_and_disagreement_of_states_of_any_shape(maze):
    states = encoded(maze)[np.arange(4).reshape(2, 2)]
    zero = np.zeros((2, 2, maze.action_size), np.float32)
    own, held = maze.value(states), maze.value(states, zero)
    assert own.shape == held.shape == (2, 2) and (own != held).any()
    policy = maze.imagine(states, horizon=1).action[..., 0, :]
    same(maze.value(states, policy), own, rtol=1e-3)
    apart = maze.disagreement(states, zero)
    assert apart.shape == (2, 2) and (apart >= 0).all() and apart.max() > 0
    with pytest.raises(dl.UserError, match="action: shape"):
        maze.disagreement(states, zero[0])


def test_decoding_in_parts_is_decoding_at_once(runs, monkeypatch):
    pixels = runs("pixels")
    whole = pixels.decode(encoded(pixels))["image"]
    monkeypatch.setattr("dreamer_leq.api.loaded_run.STATES_AT_ONCE", 4)
    parts = pixels.decode(encoded(pixels))["image"]
    assert whole.std() > 5
    np.testing.assert_allclose(whole.astype(int), parts, rtol=0, atol=1)


# --- the ensemble of MLPs, which compiles fast and whose states are known


def test_all_members_are_each_of_them(maze):
    start, action = encoded(maze)[:4], an_episode(maze)["action"][1:4]
    together = maze.imagine(start, action, member="all")
    for member in range(maze.members):
        alone = maze.imagine(start, action, member=member)
        same(together.reward[member], alone.reward)
        same(together.latents.features[member], alone.latents.features)
    assert (together.latents.features[0] != together.latents.features[1]).any()


def test_drawn_members_are_among_them(maze):
    start, action = encoded(maze)[:4], np.zeros((4, 3, maze.action_size))
    drawn = maze.imagine(start, action)
    assert drawn.latents.shape == (4, 3)
    again = maze.imagine(start, action)
    np.testing.assert_array_equal(drawn.latents.features, again.latents.features)
    other = maze.imagine(start, action, seed=1)
    assert (drawn.latents.features != other.latents.features).any()


def test_the_policys_actions_lead_where_the_policy_went(maze):
    start = encoded(maze)[:4]
    dream = maze.imagine(start, horizon=3, member=1)
    assert (abs(dream.action) < 1).all() and dream.action.std() > 0
    repeated = maze.imagine(start, dream.action, member=1)
    same(repeated.latents.features, dream.latents.features)
    same(repeated.reward, dream.reward)


def test_the_horizon_is_that_of_training(maze):
    assert maze.imagine(encoded(maze)[:4], member=1).reward.shape == (4, 3)


def test_an_action_changes_what_comes_after_it(maze):
    action = np.zeros((4, 3, maze.action_size))
    changed = action.copy()
    changed[1, 1] = 1
    paths = [
        maze.imagine(encoded(maze)[:4], given, member=0).latents.features
        for given in (action, changed)
    ]
    differs = (paths[0] != paths[1]).any(-1)
    assert not differs[:, 0].any() and not differs[[0, 2, 3]].any()
    assert differs[1, 1:].all()


def test_vectors_are_their_own_latents(maze):
    episode = an_episode(maze)
    np.testing.assert_array_equal(encoded(maze).state["vector"], episode["vector"])
    np.testing.assert_array_equal(
        maze.decode(encoded(maze))["vector"], episode["vector"]
    )


def test_one_environment_is_several_without_their_axis(maze):
    entry = {name: array[:1] for name, array in an_episode(maze).items()}
    actions, memory = maze.act(maze.initial(), entry)
    assert actions.shape == (1, maze.action_size) and actions.dtype == np.float32
    assert (abs(actions) < 1).all()
    first = {name: array[0] for name, array in entry.items()}
    np.testing.assert_array_equal(maze.act(maze.initial(), first)[0], actions[0])
    again, _ = maze.act(memory, entry)
    np.testing.assert_array_equal(maze.act(memory, entry)[0], again)  # used twice


def test_the_policy_acts_as_it_imagines(maze):
    entry = {name: array[:4] for name, array in an_episode(maze).items()}
    acted, _ = maze.act(maze.initial(4), entry)
    same(maze.imagine(encoded(maze)[:4], member=1).action[:, 0], acted)


def test_rewards_are_the_datasets(maze, runs):
    """LEQ sees -1 for each step, and the maze's own reward is 0."""
    reward = maze.imagine(encoded(maze)[:4], member=1).reward
    assert set(np.unique(reward)) <= {0, 1}
    folder = maze.path.with_name("scaled")
    shutil.copytree(maze.path, folder)
    info = json.loads((folder / "info.json").read_text())
    assert info["dataset"]["reward"] == {"scale": 1.0, "bias": -1.0}
    info["dataset"]["reward"] = {"scale": 8.0, "bias": 3.0}
    (folder / "info.json").write_text(json.dumps(info))
    scaled = dl.load_run(folder).imagine(encoded(maze)[:4], member=1).reward
    same(scaled, reward)


# --- what users get wrong


def start(run):
    return encoded(run)[:2]


WRONG = {
    "member 2: the world model has members 0 to 1": lambda run: run.imagine(
        start(run), horizon=1, member=2
    ),
    "member is -1: give a whole number from 0 on": lambda run: run.imagine(
        start(run), horizon=1, member=-1
    ),
    "member is 'best': give": lambda run: run.imagine(
        start(run), horizon=1, member="best"
    ),
    r"actions: shape \(1, 3\), expected \(..., 2\)": lambda run: run.imagine(
        start(run), np.zeros((1, 3))
    ),
    r"actions: shape \(3, 1, 2\), expected \(2, H, 2\) or \(H, 2\)": lambda run: (
        run.imagine(start(run), np.zeros((3, 1, 2)))
    ),
    r"actions: shape \(2,\), expected": lambda run: run.imagine(
        start(run), np.zeros(2)
    ),
    r"actions: 1.5 lies outside of \[-1, 1\]": lambda run: run.imagine(
        start(run), np.full((1, 2), -1.5)
    ),
    "actions: NaN or infinite": lambda run: run.imagine(
        start(run), np.full((1, 2), np.nan)
    ),
    "actions: not an array of numbers": lambda run: run.imagine(start(run), ["left"]),
    "horizon: the actions say": lambda run: run.imagine(
        start(run), np.zeros((1, 2)), horizon=1
    ),
    "horizon is -1: give a whole number from 1 on": lambda run: run.imagine(
        start(run), horizon=-1
    ),
    "horizon is 0: give": lambda run: run.imagine(start(run), np.zeros((0, 2))),
    "expected Latents, as encode": lambda run: run.imagine(
        start(run).features, horizon=1
    ),
    r"latents: none, their shape is \(0,\)": lambda run: run.decode(start(run)[:0]),
    "episode: expected a dict of arrays, got list": lambda run: run.encode([]),
    "episode: lacks 'vector'; it needs vector, is_first, action": lambda run: (
        run.encode({"action": np.zeros((2, 2))})
    ),
    r"episode\['vector'\]: shape \(2, 3\), expected \(n, 2\)": lambda run: run.encode(
        {"vector": np.zeros((2, 3)), "action": np.zeros((2, 2))}
    ),
    "episode: arrays of different lengths": lambda run: run.encode(
        {"vector": np.zeros((3, 2)), "action": np.zeros((2, 2))}
    ),
    r"episode\['action'\]: 2 lies outside": lambda run: run.encode(
        {"vector": np.zeros((2, 2)), "action": np.full((2, 2), 2)}
    ),
    "episode: no entries": lambda run: run.encode(
        {"vector": np.zeros((0, 2)), "action": np.zeros((0, 2))}
    ),
    "observation: lacks 'is_first'": lambda run: run.act(
        run.initial(), {"vector": np.zeros((1, 2))}
    ),
    "observation: expected a dict of arrays, got tuple": lambda run: run.act(
        run.initial(), ()
    ),
    r"observation: of 2 environments.*call initial\(2\)": lambda run: run.act(
        run.initial(), {"vector": np.zeros((2, 2)), "is_first": [True, True]}
    ),
    "n is 0: give": lambda run: run.initial(0),
    "episodes is 0: give": lambda run: run.evaluate(0),
    "workers is -1: give": lambda run: run.evaluate(1, workers=-1),
    "seed is -1: give": lambda run: run.make_env(seed=-1),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_mistake_is_one_line(maze, said):
    with pytest.raises(dl.UserError, match=said) as caught:
        WRONG[said](maze)
    assert "\n" not in str(caught.value)


def test_images_have_to_be_bytes(runs):
    pixels = runs("pixels")
    episode = an_episode(pixels)
    with pytest.raises(dl.UserError, match="float64, expected uint8"):
        pixels.encode(episode | {"image": episode["image"] / 255})


def test_latents_of_another_run(runs, maze):
    with pytest.raises(dl.UserError, match="are they of another run"):
        maze.decode(encoded(runs("pixels")))


def test_folders_that_are_no_runs(maze, tmp_path):
    with pytest.raises(dl.UserError, match="nowhere is not a run's folder"):
        dl.load_run("nowhere")
    early = tmp_path / "early"
    shutil.copytree(maze.path, early)
    shutil.rmtree(early / "checkpoints/leq")
    run = dl.load_run(early)
    assert run.imagine(encoded(maze)[:4], np.zeros((3, 2))).reward.shape == (4, 3)
    for ask in (run.initial, run.evaluate, lambda: run.imagine(encoded(maze))):
        with pytest.raises(dl.UserError, match="has no policy yet"):
            ask()
    shutil.rmtree(early / "checkpoints/world_model")
    with pytest.raises(dl.UserError, match="no checkpoint of phase 'world_model'"):
        dl.load_run(early)


def test_a_grid_has_no_policy_of_its_own(maze, tmp_path):
    shutil.copytree(maze.path, tmp_path / "grid")
    config = tmp_path / "grid/config.yaml"
    config.write_text(config.read_text().replace("seeds: 1\n", "seeds: 2\n"))
    run = dl.load_run(tmp_path / "grid")
    assert run.members == 2
    with pytest.raises(dl.UserError, match="grid is a grid; give one of its runs: tau"):
        run.initial()
