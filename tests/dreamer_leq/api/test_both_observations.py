"""Images and vectors at once, of a user's own environment, through all that a run does
without being trained.
"""

import numpy as np
import own_environments
import pytest
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq.commands.films import dream_film, open_loop_film
from dreamer_leq.config import Video, from_presets
from dreamer_leq.data.opening import open_data
from dreamer_leq.run.folder import RunFolder

IMAGES = {"data.image_size": 16, "latent.image": "patch", "latent.mults": (2, 3)}
OWN = {"env": "own_environments:both"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    rng, walks = np.random.default_rng(0), []
    with dl.make_env(OWN["env"], seed=0) as env:
        for _ in range(3):
            walk = [env.reset() | {"action": np.zeros(1)}]
            while not walk[-1]["is_last"]:
                action = rng.uniform(-1, 0.4, 1)
                walk.append(env.step(action) | {"action": action})
            walks.append({name: [entry[name] for entry in walk] for name in walk[0]})
    data = dl.write_dataset(place / "data", walks, alignment="arrival")
    keys = IMAGES | OWN | {"latent.length": 2}
    write_run(place / "run", data, **keys)
    return dl.load_run(place / "run")


def test_the_world_model_sees_both(run):
    assert run.observations == ("image", "vector")
    episode = run.open_dataset(log=lambda line: None).episode(0)
    assert episode["image"].shape[1:] == (16, 16, 3)
    assert episode["vector"].shape[1:] == (2,)
    latents = run.encode(episode)
    seen = run.decode(run.imagine(latents, horizon=2, member=0).latents)
    assert seen["image"].shape == (*latents.shape, 2, 16, 16, 3)
    assert seen["vector"].shape == (*latents.shape, 2, 2)
    world = RunFolder(run.path).load_world_model()
    tokens = world.net.encode(world.params, episode)
    for name in run.observations:
        other = episode | {name: episode[name] // 2}
        assert (world.net.encode(world.params, other) != tokens).any()
    with pytest.raises(dl.UserError, match="lacks 'vector'; it needs image, vector"):
        run.encode({k: x for k, x in episode.items() if k != "vector"})


def test_its_policy_is_scored_in_the_environment_in_the_sizes_of_the_data(run):
    with run.make_env(seed=0) as env:
        entry = env.reset()
        assert entry["image"].shape == (16, 16, 3)  # of 8
        action, _ = run.act(run.initial(), entry)
        assert env.step(action)["vector"].shape == (2,)
    scores = run.evaluate(episodes=2, workers=1)
    assert max(scores["lengths"]) <= 6 and 0 <= scores["success"] <= 1
    assert np.isfinite(scores["mean"]) and scores["mean"] not in (0, scores["success"])


def test_it_is_filmed(run):
    data, video = run.open_dataset(log=lambda line: None), Video(1, 3, 2)
    agent = RunFolder(run.path).load_agent()
    assert len(open_loop_film(agent.world_model, data, video)) == 3
    assert len(dream_film(agent, data, video)) == 3


def test_vectors_are_left_out_where_one_wants_images_alone(run):
    where = {"data.path": str(run.path.parent / "data"), "latent.length": 2}
    config = from_presets("debug", **IMAGES, **OWN, **where)
    alone = from_presets(
        "debug", **IMAGES, **OWN, **where, **{"data.observations": "image"}
    )
    assert open_data(config, print)[0].spec.vector_size == 2
    assert open_data(alone, print)[0].vector is None
    frames = {"world_model": "frames", "algorithm": "bc"}
    config = from_presets(
        "debug",
        **IMAGES,
        **OWN,
        **where,
        **frames,
        **{"frames.image": "patch", "frames.mults": (2, 2)},
    )
    with pytest.raises(dl.UserError, match="observations image leaves them"):
        open_data(config, print)


def test_terminals_are_those_of_the_task(run):
    assert own_environments.Line  # ends beyond 5, and not by a limit of dm_control's
    data = run.open_dataset(log=lambda line: None)
    lengths = np.diff(data.offsets)
    ends = data.offsets[1:] - 1
    np.testing.assert_array_equal(data.is_terminal[ends], lengths < 7)
