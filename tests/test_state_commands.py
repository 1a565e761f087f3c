"""The commands on state vectors: D4RL's, NeoRL's and AntMaze's files, and mazes made
here.
"""

import json
import re
import shutil
import signal
from functools import partial
from pathlib import Path

import h5py
import imageio.v3 as imageio
import jax
import numpy as np
import pytest
from workplace import (
    ANALYSED,
    PATIENCE,
    Workplace,
    free_address,
    records,
    refused,
    run_here,
    scores,
)

from dreamer_leq.cli import eval_main, train_main
from dreamer_leq.commands.analysis import analyse
from dreamer_leq.commands.estimate import write_offline
from dreamer_leq.data.opening import open_data
from dreamer_leq.evaluation import offline
from dreamer_leq.evaluation.statistics import wilson_interval
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.processes import VARIABLES
from dreamer_leq.training.checkpoints import Checkpoints
from dreamer_leq.training.metrics import read_metrics

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/ask_a_run.py"
PHASES = ("world_model", "bc", "fqe", "leq")
MAZE = Path("runs/pointmaze-umaze/seed0")
HOPPER = ("--configs", "d4rl_mujoco", "debug", "--task", "hopper-medium-replay")
HOPPER += ("--data", "hopper.hdf5", "--expansion.interval", "8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A workplace with a file of Hopper."""
    folders = (tmp_path_factory.mktemp(name) for name in ("states", "cache"))
    place = Workplace(*folders)
    collect(place, "medium", "hopper.hdf5")
    return place


def collect(place, level, out):
    code, _, errors = place.run(
        *("-m", "vd4rl_loader", "collect", "--suite", "gymnasium"),
        *("--task", "Hopper-v4", "--level", level, "--steps", 400),
        *("--out", out),
    )
    assert code == 0, errors


def train(place, *flags):
    """stdout of a training that has to end well."""
    code, output, errors = place.run("train_offline.py", *flags)
    assert code == 0, errors
    return output


def train_here(place, *flags):
    """As `train`, in this process."""
    code, output, errors = run_here(place, train_main, *flags)
    assert code == 0, errors
    return output


def parameters(folder, phase):
    """Step and state of a phase's last checkpoint."""
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.latest(phase)
    return step, checkpoints.restore(phase, step=step)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trained(folder, phases=PHASES):
    """Every phase ran to its end, with finite metrics, and the policy was scored."""
    found = records(folder)
    assert list(dict.fromkeys(record["phase"] for record in found)) == list(phases)
    values = [x for record in found for x in record.values() if not isinstance(x, str)]
    assert np.isfinite(values).all()
    updates = parameters(folder, phases[-1])[0]
    assert list(scores(folder)) == ["0", str(updates)]


def film(path):
    """First frame and number of frames; a maze's are too many to be read all."""
    about = imageio.immeta(path)
    return next(imageio.imiter(path)), round(about["duration"] * about["fps"])


# --- a maze, without any data


@pytest.fixture(scope="module")
def maze(place):
    """stdout of a run on a maze; its folder is place.path / MAZE."""
    flags = ("--configs", "maze", "debug", "--task", "pointmaze-umaze")
    return train_here(place, *flags, *ANALYSED)


def test_a_maze_is_trained_on_data_made_here(place, maze):
    assert_trained(place.path / MAZE)
    assert re.search(r"dataset: 2,000 steps of short walks, made here: datasets/", maze)
    assert re.search(
        r"rewards: reward × 1 -1 .*; \d+ of 2,\d+ entries have a rew", maze
    )
    assert "ensemble: held-out errors" in maze and "the first 2 are elites" in maze
    assert "imagined ends: within 0.5 m of (0, 8); reward 1 there" in maze
    for phase in ("bc 10/10", "fqe 10/10", "leq 20/20"):
        assert phase in maze


def test_a_maze_is_scored_by_success(place, maze):
    found = scores(place.path / MAZE)
    for updates, score in found.items():
        assert set(score["returns"]) <= {0, 1} and score["episodes"] == 2
        span = wilson_interval(int(sum(score["returns"])), 2)
        assert (score["ci_low"], score["ci_high"]) == span
        assert score["normalized"] == 100 * score["mean"]
        said = f"policy after {updates} updates of LEQ: success {score['mean']:.0%} "
        assert said in maze


def test_a_maze_run_says_what_it_left(place, maze):
    shown = re.findall(rf"^  ({MAZE}\S+) ", maze, re.MULTILINE)
    assert str(MAZE / "videos/policy.mp4") in shown
    assert all((place.path / path).exists() for path in shown)
    assert "--imagine" not in maze and "open_loop" not in maze


def test_the_example_asks_a_maze_run(place, maze):
    """As people run it; then what it draws of pixels."""
    names = {}

    def example(flags):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", [EXAMPLE.name, *flags])
            patch.setenv("MPLBACKEND", "agg")
            exec(compile(EXAMPLE.read_text(), EXAMPLE, "exec"), names)

    _, output, errors = run_here(place, example, "--logdir", MAZE, "--out", "out.png")
    assert errors == "" and "2 members that see vector" in output
    assert re.search(r"wrote out.png\n.*\nreturn [01] in \d+ steps\n$", output)
    picture = imageio.imread(place.path / "out.png")
    assert picture.shape[:2] == (480, 1560) and picture.std() > 10
    steps = names["horizon"]
    images = np.zeros((2, steps, 8, 8, 3), np.uint8)
    names["expected"] = {"image": images}
    names["episode"] |= {"image": np.zeros((names["last"] + 1, 8, 8, 3), np.uint8)}
    names["plot_images"](figure := names["plt"].figure())
    assert len(figure.axes) == 3 * 6 + 1  # data and 2 members, and the rewards


def test_the_policy_is_filmed(place, maze):
    frame, frames = film(place.path / MAZE / "videos/policy.mp4")
    assert 2 <= frames <= 701 and frame.std() > 10


def test_eval_films_too(place, maze):
    flags = ("--logdir", MAZE, "--episodes", 1, "--video", "out.mp4")
    code, output, errors = run_here(place, eval_main, *flags)
    assert (code, errors) == (0, "") and "wrote out.mp4" in output
    found = json.loads((place.path / MAZE / "eval.json").read_text())["policy"]
    assert film(place.path / "out.mp4")[1] == found["lengths"][0] + 1
    assert found["returns"][0] == scores(place.path / MAZE)["20"]["returns"][0]


def analyse_here(place, folder, monkeypatch):
    """What `analyse` says of a run in this process."""
    said = []
    monkeypatch.chdir(place.path)
    run = RunFolder(folder)
    dataset, _ = open_data(run.config, said.append)
    said.clear()
    analyse(run, dataset, said.append, workers=1)
    return said


def analysis(folder):
    """analysis/model.json and analysis/value.json, in which every number is finite."""

    def refuse(number):
        raise ValueError(number)

    files = (folder / "analysis" / f"{name}.json" for name in ("model", "value"))
    return [json.loads(file.read_text(), parse_constant=refuse) for file in files]


def test_a_maze_is_analysed_once(place, maze, monkeypatch):
    folder = place.path / MAZE
    shutil.rmtree(folder / "analysis")  # the training's
    said = analyse_here(place, folder, monkeypatch)
    model, value = analysis(folder)
    assert said == [f"model: {model['sentence']}", f"value: {value['sentence']}"]
    assert model["horizon"] == [1, 2, 3, 4] and model["episodes"] == 4
    assert set(model["error"]) == {"state", "reward"}
    for error in model["error"].values():
        assert [len(curve) for curve in error["members"]] == [4, 4]
        assert all(len(error[name]) == 4 for name in ("mixture", "low", "baseline"))
    assert set(model["disagreement"]) == {"data", "policy", "random"}
    assert value["episodes"] == 2 and value["horizon"] == 3
    for name in ("q", "lambda_return", "imagined_return"):
        found = value[name]
        assert len(found["predicted"]) == len(found["real"]) == len(value["episode"])
        error = np.subtract(found["predicted"], found["real"])
        assert len(error) == 20 and found["bias"] == pytest.approx(error.mean())
        assert found["low"] <= found["bias"] <= found["high"]
    assert analyse_here(place, folder, monkeypatch) == []  # all there
    (folder / "analysis/model.json").write_text("{")
    assert analyse_here(place, folder, monkeypatch) == said[:1]
    assert analysis(folder) == [model, value]  # and the same


# --- Hopper: scored, taken over


@pytest.fixture(scope="module")
def whole(place):
    """The folder of an undisturbed run on D4RL's layout."""
    place.stdout = train(place, *HOPPER, "--logdir", "whole")
    return place.path / "whole"


def test_hopper_is_trained_and_scored(place, whole):
    assert_trained(whole)
    scale = RunFolder(whole).facts.reward["scale"]
    assert scale > 1 and f"rewards: reward × {scale:.4g} +0 (returns " in place.stdout
    assert "imagined ends: the rule of hopper; rewards by the ensemble" in place.stdout
    for score in scores(whole).values():
        # Fu et al. 2020: from the random policy's return to the expert's
        expected = (score["mean"] + 20.272305) / (3234.3 + 20.272305) * 100
        assert score["normalized"] == pytest.approx(expected, rel=1e-6)


def test_eval_repeats_the_score_of_training(place, whole):
    code, output, errors = place.run("eval.py", "--logdir", "whole", "--random")
    assert (code, errors) == (0, "")
    found = json.loads((whole / "eval.json").read_text())
    assert found["policy"]["returns"] == scores(whole)["20"]["returns"]
    assert found["random"]["returns"] != found["policy"]["returns"]
    assert f"{found['policy']['mean']:.1f}" in output


@pytest.fixture(scope="module")
def disturbed(place, whole):
    """The same run in another folder, stopped twice: how each try ended."""
    folder = place.path / "disturbed"

    def recorded(phase, step):
        return lambda: any(
            (record["phase"], record["step"]) == (phase, step) and len(record) > 8
            for record in read_metrics(folder / "metrics.jsonl")
        )

    def printed():
        return "transitions and" in place.output.read_text()

    command = ("train_offline.py", *HOPPER, "--logdir", folder)
    stopped = place.stop(place.start(*command), signal.SIGTERM, printed)
    kept = Checkpoints(folder / "checkpoints").steps("world_model")
    reached = recorded("leq", 15)
    killed = place.stop(place.start(*command), signal.SIGKILL, reached)
    return folder, (*stopped, kept), killed, place.run(*command)


def test_sigterm_saves_and_exits(disturbed):
    _, (code, output, errors, kept), *_ = disturbed
    assert (code, errors) == (143, "")
    (step,) = re.findall(
        r"stopped by SIGTERM at world_model update (\d+); saved", output
    )
    assert kept[-1] == int(step)


def test_the_disturbed_run_ends_like_the_undisturbed_one(whole, disturbed):
    folder, _, killed, (code, output, errors) = disturbed
    assert killed[0] == -signal.SIGKILL and (code, errors) == (0, "")
    assert "world_model" not in output  # finished before; not run again
    for found in (records, scores):
        assert found(folder) == found(whole)
    for phase in PHASES:
        assert_same(parameters(folder, phase), parameters(whole, phase))


@pytest.fixture(scope="module")
def taken_over(place, whole):
    """stdout and folder of a run with another tau after the same pretraining."""
    flags = ("--pretrained", "whole", "--leq.tau", "0.4", "--logdir", "other")
    return train_here(place, *HOPPER, *flags), place.path / "other"


def test_pretraining_is_taken_over(whole, taken_over):
    output, folder = taken_over
    for phase in ("world_model", "bc", "fqe"):
        assert f"{phase} " not in output  # nothing of it is run again
        assert_same(parameters(folder, phase), parameters(whole, phase))
    assert {record["phase"] for record in records(folder)} == {"leq"}
    # up to rounding: the commands choose how XLA computes before JAX is loaded
    ours, theirs = (scores(path)["0"]["returns"] for path in (folder, whole))
    assert ours == pytest.approx(theirs, rel=1e-6)


# --- a grid of expectiles and seeds


@pytest.fixture(scope="module")
def grid(place, whole):
    """stdout and folder of a grid against the world model of another run."""
    flags = ("--leq.tau", "0.1", "0.4", "--seeds", "2", "--pretrained", "whole")
    output = train_here(place, *HOPPER, *flags, *ANALYSED, "--logdir", "grid")
    return output, place.path / "grid"


GRID = [f"tau{tau}-seed{seed}" for tau in (0.1, 0.4) for seed in (0, 1)]


def test_a_grid_trains_every_member_against_one_world_model(whole, grid):
    output, folder = grid
    assert "the world model of whole; not its policy, which has another seeds" in output
    assert sorted(p.name for p in folder.glob("tau*")) == GRID
    for name in GRID:
        assert f"{name}: policy after 20 updates of LEQ: return " in output
        assert list(scores(folder / name)) == ["0", "20"]
        assert {record["phase"] for record in records(folder / name)} == {"leq"}
        assert film(folder / name / "videos/policy.mp4")[1] > 2
        assert parameters(folder / name, "leq")[0] == 20
        found = parameters(folder / name, "world_model")
        assert_same(found, parameters(whole, "world_model"))
    assert {record["phase"] for record in records(folder)} == {"bc", "fqe"}


def test_a_grid_has_a_page_and_each_member_its_own(grid):
    pages = [
        folder / "report.html" for folder in (grid[1], *map(grid[1].joinpath, GRID))
    ]
    whole, *own = [page.read_text() for page in pages]
    for name, page in zip(GRID, own, strict=True):
        assert f'<a href="{name}/report.html">' in whole
        assert f'"name":"{name}"' in whole and "policy before LEQ" in page


def test_a_member_equals_the_run_that_is_trained_alone(taken_over, grid):
    alone, member = taken_over[1], grid[1] / "tau0.4-seed0"
    (_, (ours, _)), (_, (theirs, _)) = (parameters(f, "leq") for f in (alone, member))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, ours, theirs)
    other = parameters(grid[1] / "tau0.1-seed0", "leq")[1][0]["params"]["actor"]
    differs = jax.tree.map(lambda a, b: (a != b).any(), ours["params"]["actor"], other)
    assert any(jax.tree.leaves(differs))
    pairs = zip(records(alone)[-6:], records(member)[-6:], strict=True)
    for expected, found in pairs:
        assert expected.pop("phase") == found.pop("phase") == "leq"
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_each_member_of_a_grid_has_an_analysis_of_its_own(grid):
    models, values = zip(*(analysis(grid[1] / name) for name in GRID), strict=True)
    assert all(model["error"] == models[0]["error"] for model in models)
    assert len({tuple(model["disagreement"]["policy"]) for model in models}) == 4
    assert [value["varying"]["tau"] for value in values] == [0.1, 0.1, 0.4, 0.4]
    assert not (grid[1] / "analysis").exists()


def test_eval_scores_all_members_of_a_grid(place, grid, said):
    code, output, errors = run_here(place, eval_main, "--logdir", "grid")
    assert (code, errors) == (0, "")
    found = json.loads((grid[1] / "eval.json").read_text())
    for name in GRID:
        assert name in output
        assert found[name]["returns"] == scores(grid[1] / name)["20"]["returns"]
    line = said(eval_main, "--logdir", "grid", "--video", "out.mp4")
    assert f"grid is a grid; give one of its runs: {', '.join(GRID)}" in line
    code, _, _ = run_here(place, eval_main, "--logdir", grid[1] / GRID[3])
    assert code == 0


def test_a_grid_is_estimated_without_the_environment(place, grid, monkeypatch):
    for name in ("RETURN_UPDATES", "UPDATES"):
        monkeypatch.setattr(offline, name, 4)

    def estimate(_):
        folder = RunFolder("grid")
        dataset = open_data(folder.config, print)[0]
        write_offline(folder, dataset, print)
        return 0

    code, output, errors = run_here(place, estimate)
    assert (code, errors) == (0, "")
    assert output.count("fitted Q evaluation has not converged") == len(GRID)
    files = (grid[1] / name / "analysis" / "offline.json" for name in GRID)
    found = [json.loads(file.read_text()) for file in files]
    taus = [each["varying"]["tau"] for each in found]
    assert taus == [float(name[3:6]) for name in GRID]
    assert len({each["calibration"]["bias"] for each in found}) == len(GRID)
    assert len({each["data_return"] for each in found}) == 1


def test_a_grid_is_compared(place, grid):
    flags = ("--compare", "grid", "--out", "grid.html")
    code, output, errors = run_here(place, eval_main, *flags)
    assert (code, errors) == (0, "")
    assert "tau 0.1" in output and "interquartile mean" in output
    assert "grid/tau0.4-seed1" in (place.path / "grid.html").read_text()


# --- two processes


@pytest.fixture(scope="module")
def together(place, tmp_path_factory):
    """Two processes that train as `whole` does, up to behaviour cloning: the folder,
    and what each of them printed.
    """
    folder, data = place.path / "together", place.path / "hopper.hdf5"
    flags = (*HOPPER[:5], "--data", data, "--logdir", folder, "--mesh", "data=2")
    flags += ("--fqe.updates", 0, "--leq.updates", 0, "--expansion.interval", 8)
    addressed = dict(zip(VARIABLES, (free_address(), "2"), strict=False))
    started = []
    for index in range(2):
        mine = place.variables | addressed | {VARIABLES[2]: str(index)}
        here = Workplace(tmp_path_factory.mktemp("process"), place.cache, mine)
        started.append((here, here.start("train_offline.py", *flags)))
    ends = [process.communicate(timeout=PATIENCE) for _, process in started]
    errors = [error for _, error in ends]
    assert [process.returncode for _, process in started] == [0, 0], errors
    return folder, [here for here, _ in started]


def test_two_processes_train_as_one(whole, together):
    """The same losses, and a policy that earns the same."""
    folder, _ = together
    ours, theirs = (
        [
            record
            for record in records(path)
            if record.pop("phase") in ("world_model", "bc")
        ]
        for path in (folder, whole)
    )
    assert len(ours) == len(theirs) == 6
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert list(scores(folder)) == ["0"]


def test_the_first_process_alone_speaks_and_writes(together):
    folder, (first, second) = together
    spoken = first.output.read_text()
    assert re.search(r"computing on 2 x \w+ \(\w+\), in 2 processes", spoken)
    assert "bc 10/10" in spoken and f"everything is in {folder}" in spoken
    said = second.output.read_text().splitlines()
    assert not [line for line in said if not line.startswith("[Gloo]")]
    assert not second.files() and not first.files()
    assert len(list((folder / "tensorboard").iterdir())) == 1


def test_one_process_reads_what_two_have_written(together):
    folder, _ = together
    assert parameters(folder, "bc")[0] == 10
    assert RunFolder(folder).load_agent().world_model.members == 2


# --- AntMaze; NeoRL and the RSSM are among the README's commands, which .ci/run runs


def write_antmaze(path, episodes=6, steps=60):
    """D4RL's layout without next observations: 29 numbers, not cut at the goal."""
    rng, n = np.random.default_rng(0), episodes * steps
    vector = rng.normal(size=(episodes, steps, 29)).astype(np.float32)
    walk = np.cumsum(rng.uniform(-0.3, 0.3, (episodes, steps, 2)), 1)
    vector[:, :, :2] = walk
    reached = rng.random(n) < 0.05
    with h5py.File(path, "w") as file:
        file["observations"] = vector.reshape(n, 29)
        file["actions"] = rng.uniform(-1, 1, (n, 8)).astype(np.float32)
        file["rewards"] = reached.astype(np.float32)
        file["terminals"] = reached
        file["timeouts"] = np.arange(n) % steps == steps - 1
        file["infos/goal"] = np.zeros((n, 2), np.float32)


def test_antmaze(place):
    write_antmaze(place.path / "ant.hdf5")
    flags = ("--task", "antmaze-umaze", "--data", "ant.hdf5", "--logdir", "ant")
    flags += ("--bc.updates", 0, "--fqe.updates", 0, "--eval.episodes", 1)
    output = train_here(place, "--configs", "d4rl_antmaze", "debug", *flags)
    folder = RunFolder(place.path / "ant")
    assert_trained(folder.path, ("world_model", "leq"))
    assert folder.facts.reward == {"scale": 1.0, "bias": -1.0}
    assert "imagined ends: within 0.25 m of (0.75, 8.75)" in output
    assert scores(folder.path)["20"]["lengths"] == [700]


# --- what users get wrong


@pytest.fixture
def said(place):
    """The one line with which a command is refused."""
    return partial(refused, place)


def test_data_of_another_environment(said):
    flags = ("--configs", "d4rl_mujoco", "debug", "--task", "walker2d-medium")
    line = said(train_main, *flags, "--data", "hopper.hdf5", "--logdir", "no")
    assert "hopper.hdf5: states of 11 and actions of 3 numbers" in line
    assert "walker2d-medium has 17 and 6" in line


@pytest.mark.parametrize(
    ("preset", "file", "suite"),
    [
        ("d4rl_mujoco", "hopper_medium_replay-v2.hdf5", "d4rl"),
        ("d4rl_antmaze", "Ant_maze_big-maze_noisy", "d4rl"),
        ("neorl", "Hopper-v3-low", "neorl"),
    ],
)
def test_no_data(said, preset, file, suite):
    line = said(train_main, "--configs", preset, "debug", "--logdir", "no")
    assert "no dataset: give its file with --data" in line and file in line
    assert f"download --suite {suite} --task" in line


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--ensemble.units", "17"], "another ensemble.units"),
        (["--precision", "bfloat16"], "another precision"),
        (["--data", "random.hdf5"], "return_mean"),
    ],
)
def test_another_runs_pretraining(place, whole, said, flags, complaint):
    if not (place.path / "random.hdf5").exists():
        collect(place, "random", "random.hdf5")
    line = said(train_main, *HOPPER, "--pretrained", "whole", "--logdir", "no", *flags)
    assert "--pretrained whole: it has another" in line and complaint in line


def test_a_run_that_another_process_trains(place, whole, said):
    with RunFolder(whole).in_use():
        line = said(train_main, *HOPPER, *ANALYSED, "--logdir", "whole")
    assert "whole is in use by pid" in line


def test_pretraining_that_is_not_over(place, whole, said):
    shutil.copytree(whole, place.path / "early")
    for phase in ("leq", "world_model"):
        shutil.rmtree(place.path / "early/checkpoints" / phase)
    flags = (*HOPPER, "--logdir", "no", "--pretrained")
    line = said(train_main, *flags, "early")
    assert "its world model is still to be trained: let its own command" in line
    assert "nowhere is not a run's folder" in said(train_main, *flags, "nowhere")


@pytest.mark.parametrize("flag", ["--imagine", "--open-loop"])
def test_states_have_no_imagined_pictures(whole, said, flag):
    line = said(eval_main, "--logdir", "whole", flag, "dream.mp4")
    assert "hopper-medium-replay has state vectors" in line and "--video" in line


def test_pixels_are_no_ensembles(said):
    flags = ("--configs", "debug", "--world_model", "mlp_ensemble")
    assert "mlp_ensemble reads state vectors" in said(train_main, *flags)
