"""The ONNX file of a policy, run by onnxruntime, acts as the run does."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
import vd4rl_files
from untrained import write_run

import dreamer_leq as dl
from vd4rl_loader.collection.pointmaze import collect_pointmaze

SCRIPT = Path(__file__).resolve().parents[2] / "examples/to_onnx.py"
PIXELS = {"task": "walker_walk-expert", "data.image_size": 16}
PIXELS |= {"latent.image": "patch", "latent.mults": (2, 3)}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("to_onnx", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    images = place / "images/main/walker_walk/expert/64px"
    episodes = [vd4rl_files.episode(seed, length=20) for seed in (0, 1)]
    vd4rl_files.write_folder(images, episodes)
    data = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    vectors = write_run(place / "maze", data, "maze", task="pointmaze-umaze")
    return {"latents": write_run(place / "run", images, **PIXELS), "vectors": vectors}


def entries(kind):
    """Of two environments, the second one beginning anew at the last."""
    rng = np.random.default_rng(0)
    for first in ([True, True], [False, False], [False, True]):
        seen = {"is_first": np.array(first)}
        if kind == "vectors":
            yield seen | {"vector": rng.normal(size=(2, 2)).astype(np.float32)}
        else:
            yield seen | {"image": rng.integers(0, 256, (2, 16, 16, 3), np.uint8)}


def noise_of(memory, shape):
    """What a run draws its latents with, and the key that follows."""
    key, sample = jax.random.split(memory)
    return np.asarray(jax.random.gumbel(sample, shape)), key


@pytest.mark.parametrize("kind", ["latents", "vectors"])
def test_the_function_that_is_converted_acts_as_the_run_does(example, runs, kind):
    policy, inputs, outputs = example.policy_of(runs[kind])
    follows(kind, runs[kind], inputs, outputs, jax.jit(policy))


@pytest.mark.parametrize("kind", ["latents", "vectors"])
def test_so_does_the_file(example, runs, tmp_path, kind):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    example.write_onnx(runs[kind], str(tmp_path / "policy.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    _, inputs, outputs = example.policy_of(runs[kind])
    assert [x.name for x in session.get_outputs()] == outputs

    def policy(*arrays):
        return session.run(None, dict(zip(inputs, arrays, strict=True)))

    follows(kind, runs[kind], inputs, outputs, policy)


def follows(kind, folder, inputs, outputs, policy):
    """That the policy's actions are those of the run."""
    run = dl.load_run(folder.path)
    carry, key = run.initial(2), jax.random.key(0)
    zeros = {k: np.zeros((2, *x.shape[1:]), x.dtype) for k, x in inputs.items()}
    for seen in entries(kind):
        given = zeros | seen
        if "noise" in inputs:
            given["noise"], key = noise_of(key, given["noise"].shape)
        found = dict(zip(outputs, policy(*given.values()), strict=True))
        expected, carry = run.act(carry, seen)
        np.testing.assert_allclose(found["action"], expected, rtol=1e-4, atol=1e-5)
        news = {k.replace("next", "memory"): x for k, x in found.items()}
        news["memory_action"] = news.pop("action")
        zeros |= {name: x for name, x in news.items() if name in inputs}
