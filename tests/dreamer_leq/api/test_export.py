"""What is exported, run by JAX alone, does what the run does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import vd4rl_files
from untrained import write_run

import dreamer_leq as dl
from dreamer_leq import cli
from vd4rl_loader.collection.pointmaze import collect_pointmaze

pytest.importorskip("flatbuffers")

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/share-and-export.md"
PIXELS = {"task": "walker_walk-expert", "data.image_size": 16}
LATENT = PIXELS | {"latent.image": "patch", "latent.mults": (2, 3)}
FRAMES = PIXELS | {"frames.stack": 2, "frames.depth": 1, "frames.mults": (1, 1)}
N, STEPS = 2, 5
ALONE = f"""
import sys

import numpy as np

for name in ("dreamer_leq", "vd4rl_loader", "flax", "orbax"):
    sys.modules[name] = None  # importing it fails
place, *kinds = sys.argv[1:]
for kind in kinds:
    seen, actions = dict(np.load(f"{{place}}/{{kind}}.npz")), []
    CODE
    for t in range({STEPS}):
        entry = {{name: array[t] for name, array in seen.items()}}
        action, memory = act(entry, memory)
        actions.append(action)
    np.save(f"{{place}}/{{kind}}.npy", actions)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By kind: on pixels' latents, on state vectors, on stacked frames."""
    place = tmp_path_factory.mktemp("runs")
    images = place / "images/main/walker_walk/expert/64px"
    episodes = [vd4rl_files.episode(seed, length=20) for seed in (0, 1)]
    vd4rl_files.write_folder(images, episodes)
    vectors = collect_pointmaze("umaze", 300, 0, place / "maze.hdf5")
    write_run(place / "latent", images, **LATENT)
    write_run(place / "vectors", vectors, "maze", task="pointmaze-umaze")
    write_run(place / "frames", images, "drq_bc", "small_frames", **FRAMES)
    return {kind: dl.load_run(place / kind) for kind in ("latent", "vectors", "frames")}


def observed(run):
    """[T, N, ...]; the second environment begins anew at entry 3."""
    rng = np.random.default_rng(0)
    is_first = np.zeros((STEPS, N), bool)
    is_first[0], is_first[3, 1] = True, True
    if run.observations == ("vector",):
        return {"is_first": is_first, "vector": rng.normal(size=(STEPS, N, 2))}
    image = rng.integers(0, 256, (STEPS, N, 16, 16, 3), np.uint8)
    return {"is_first": is_first, "image": image}


def test_the_policy_acts_as_the_run_does_without_this_library(runs, tmp_path):
    for kind, run in runs.items():
        run.export(tmp_path / f"{kind}.stablehlo")
        seen = observed(run)
        if "vector" in seen:
            seen["vector"] = seen["vector"].astype(np.float32)
        np.savez(tmp_path / f"{kind}.npz", **seen)
    # the ten lines of the docs
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (code,) = (block for block in blocks if "deserialize" in block)
    for said, here in {
        '"policy.stablehlo"': 'f"{place}/{kind}.stablehlo"',
        "n = 1 ": f"n = {N} ",
    }.items():
        assert said in code
        code = code.replace(said, here)
    script = ALONE.replace("CODE", code.replace("\n", "\n    "))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", script, tmp_path, *runs]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=300)
    for kind, run in runs.items():
        seen, memory = observed(run), run.initial(N)
        actions = np.load(tmp_path / f"{kind}.npy")
        assert np.unique(actions.round(4), axis=0).shape == actions.shape
        for t in range(STEPS):
            entry = {name: array[t] for name, array in seen.items()}
            expected, memory = run.act(memory, entry)
            np.testing.assert_allclose(actions[t], expected, rtol=1e-4, atol=1e-5)


def test_the_file_is_for_all_platforms_and_any_number_of_environments(runs, tmp_path):
    run = runs["frames"]
    content = run.export(tmp_path / "policy").read_bytes()
    policy = jax.export.deserialize(bytearray(content))
    assert policy.platforms == ("cpu", "cuda", "tpu")
    (seen, memory), _ = jax.tree.unflatten(policy.in_tree, policy.in_avals)
    assert {str(x.shape[0]) for x in seen.values()} == {"batch"}
    assert {k: x.dtype for k, x in memory.items() if k != "image"} == {
        "action": np.float32,
        "key": np.uint32,
    }


def some_latents(run, rng):
    """Four, of a run on latents or on vectors."""
    if run.observations == ("vector",):
        vector = rng.normal(size=(4, 2)).astype(np.float32)
        return dl.Latents({"vector": vector}, vector)
    c = run.config.latent
    state = {
        "deter": rng.normal(size=(4, c.deter)).astype(np.float32),
        "stoch": rng.integers(0, c.classes, (4, c.stoch), np.uint8),
    }
    return dl.Latents(state, np.zeros((4, c.deter + c.stoch * c.classes), np.float32))


@pytest.mark.parametrize("kind", ["latent", "vectors"])
def test_a_step_and_what_is_seen_are_the_runs_own(runs, tmp_path, kind):
    run, programs = runs[kind], {}
    for part in ("step", "decoder"):
        file = run.export(tmp_path / part, part=part)
        programs[part] = jax.export.deserialize(bytearray(file.read_bytes())).call
    rng, member = np.random.default_rng(0), 1
    latents = some_latents(run, rng)
    action = rng.uniform(-1, 1, (4, 1, run.action_size)).astype(np.float32)
    imagined = run.imagine(latents, action, member=member, seed=3)
    (key,) = jax.random.split(jax.random.key(3), 1)  # of the one imagined step
    key = jax.random.key_data(jax.random.split(key)[1])
    state, reward, cont = programs["step"](
        latents.state, action[:, 0], np.int32(member), key
    )
    close = dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reward, imagined.reward[:, 0], **close)
    np.testing.assert_allclose(cont, imagined.cont[:, 0], **close)
    for name, array in imagined.latents.state.items():
        np.testing.assert_allclose(state[name], array[:, 0], **close)
    seen = programs["decoder"](state)
    for name, array in run.decode(imagined.latents[:, 0]).items():
        np.testing.assert_allclose(seen[name], array, rtol=1e-4, atol=1)


def test_what_can_not_be_exported_is_one_line(runs, tmp_path, monkeypatch, capsys):
    run = runs["frames"]
    with pytest.raises(
        dl.UserError, match="has no world model of single steps to export"
    ):
        run.export(tmp_path / "step", part="step")
    with pytest.raises(dl.UserError, match="give one of policy, step, decoder"):
        run.export(tmp_path / "critic", part="critic")
    (tmp_path / "file").write_text("")
    command = ["--logdir", str(run.path), "--export"]
    assert cli.eval_main([*command, str(tmp_path / "file/policy")]) == 2
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    assert cli.eval_main([*command, str(tmp_path / "policy")]) == 2
    refused = capsys.readouterr().err.splitlines()
    assert len(refused) == 2 and str(tmp_path / "file") in refused[0]
    assert "pip install 'dreamer-leq[export]'" in refused[1]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
