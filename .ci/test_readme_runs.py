"""What the README's commands have left behind: `.ci/run` starts this in the folder in
which it has run them, and has kept what they said in said.txt.
"""

import json
import os
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import imageio.v3 as imageio
import jax
import numpy as np
import pytest
from workplace import (
    PATIENCE,
    PHASES,
    Workplace,
    assert_same,
    assert_trained,
    films,
    free_address,
    parameters,
    records,
    run_here,
    scalars,
    scores,
)

import dreamer_leq as dl
from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main
from dreamer_leq.commands.analysis import analyse
from dreamer_leq.commands.estimate import write_offline
from dreamer_leq.data.opening import open_data
from dreamer_leq.evaluation import offline
from dreamer_leq.evaluation.statistics import wilson_interval
from dreamer_leq.evaluation.videos import dream_grid, open_loop_grid
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.processes import VARIABLES
from dreamer_leq.training.checkpoints import Checkpoints

PLACE = Workplace(Path.cwd(), Path(os.environ["XDG_CACHE_HOME"]))
SAID = (PLACE.path / "said.txt").read_text()
DEMO = Path("runs/walker_walk-medium_expert/seed0")
WALKER, MAZE = Path("runs/walker"), Path("runs/pointmaze-medium/seed0")
ONE, ALONE, GRID = (Path(f"runs/hopper{x}") for x in ("", "-0.3", "-grid"))
MEMBERS = [f"tau{tau}-seed0" for tau in (0.3, 0.4, 0.5)]


def said_by(*words):
    """What the first command with these words printed."""
    for part in SAID.split("\n== bash -c ")[1:]:
        command, _, output = part.partition("\n")
        if set(words) <= set(command.split()):
            return output
    raise AssertionError(f"not among the README's commands: {words}")


def by(folder):
    """Words of the command that has trained a run."""
    return ("--logdir", str(folder), "--configs")


def film(path):
    """First frame and number of frames; a maze's are too many to be read all."""
    about = imageio.immeta(path)
    return next(imageio.imiter(path)), round(about["duration"] * about["fps"])


def test_no_command_complains():
    assert "Traceback" not in SAID
    for folder in (WALKER, ONE, ALONE, GRID):
        assert not re.findall(r".*(?:Warning|error:).*", said_by(*by(folder)))


# --- from pixels


@pytest.mark.parametrize("folder", [WALKER, MAZE])
def test_what_a_run_says_it_has_left_is_there(folder):
    output = said_by("maze", "debug") if folder == MAZE else said_by(*by(folder))
    named = re.findall(rf"^  ({folder}\S+) ", output, re.MULTILINE)
    assert str(folder / "videos/policy.mp4") in named
    assert all(Path(path).exists() for path in named)
    lines = output.splitlines()
    score = shlex.split(lines[lines.index("go on with") + 1])
    assert Path(score[1]).exists() and score[2:4] == ["--logdir", str(folder)]


def test_the_folder_holds_configuration_and_provenance():
    keys = {"task": "walker_walk-medium_expert", "data.path": "data"}
    keys |= {"logdir": str(WALKER), "leq.tau": 0.1}
    expected = configs.from_presets("vd4rl", "debug", **keys)
    assert not configs.difference(configs.read(WALKER / "config.yaml"), expected)
    info = json.loads((WALKER / "info.json").read_text())
    assert info["seed"] == 0 and info["backend"] == jax.default_backend()
    assert info["packages"]["jax"] == jax.__version__
    statistics = info["dataset"]["statistics"]
    assert (statistics["episodes"], statistics["entries"]) == (2, 1002)
    environment = info["dataset"]["environment"]
    assert (environment["suite"], environment["task"]) == ("dm_control", "walker_walk")
    assert environment["render"]["name"] == "fast"
    assert not [file for file in WALKER.rglob("*") if "tmp" in file.name]


def test_metrics_are_in_order_and_finite():
    found = records(WALKER)
    steps = [(record["phase"], record["step"]) for record in found]
    assert steps == [
        *[("world_model", step) for step in (5, 10, 15, 20)],
        *[("bc", step) for step in (5, 10)],
        *[("fqe", step) for step in (5, 10)],
        ("leq", 0),  # before
        *[("leq", step) for step in (5, 10, 15, 20)],
        ("leq", 20),  # after
    ]
    values = [x for r in found for x in r.values() if not isinstance(x, str)]
    assert np.isfinite(values).all()
    image_losses = [r["image_loss"] for r in found if r["phase"] == "world_model"]
    assert image_losses == sorted(image_losses, reverse=True)


def test_tensorboard_shows_what_the_metrics_say():
    shown = scalars(WALKER)
    for phase in PHASES:
        assert any(tag.startswith(f"{phase}/") for tag in shown)
    for record in records(WALKER):
        for name in record.keys() - {"phase", "step"}:
            values = dict(shown[f"{record['phase']}/{name}"])
            assert values[record["step"]] == np.float32(record[name]), name


def test_the_last_checkpoints_are_kept():
    checkpoints = Checkpoints(WALKER / "checkpoints")
    kept = {phase: checkpoints.steps(phase) for phase in PHASES}
    early, late = [0, 10], [10, 20]
    assert kept == {"world_model": late, "bc": early, "fqe": early, "leq": late}


def test_scores_before_and_after():
    found = scores(WALKER)
    assert list(found) == ["0", "20"]
    for score in found.values():
        assert score["episodes"] == 2 and score["lengths"] == [500, 500]
        assert all(0 <= x <= 1000 for x in score["returns"])
        assert score["mean"] == np.mean(score["returns"])
        assert score["normalized"] == pytest.approx(score["mean"] / 10, rel=1e-12)
    assert found["0"]["returns"] != found["20"]["returns"]


def test_imagined_videos():
    config = configs.read(WALKER / "config.yaml")
    length, members = config.video.length, config.latent.members
    images = np.zeros((config.video.sequences, length, 64, 64, 3), np.uint8)
    grids = {
        "open_loop": open_loop_grid(images, images, config.video.context),
        "dream": dream_grid(images[:1].repeat(members, 0), np.zeros((members, length))),
    }
    for name, grid in grids.items():
        _, height, width, _ = grid.shape
        for film in films(WALKER / "videos" / name):
            assert film.shape == (length, height, width + width % 2, 3)
            assert film.std() > 10  # something is to be seen
            assert abs(film[-1].astype(int) - film[0]).max() > 50


def test_eval_repeats_the_score_that_training_gave():
    found = json.loads((WALKER / "eval.json").read_text())
    assert list(found) == ["policy", "random"]
    ours, theirs = found["policy"]["returns"], scores(WALKER)["20"]["returns"]
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert found["random"]["returns"] != ours


def test_eval_prints_a_table():
    output = said_by("--logdir", str(WALKER), "--report")
    for word in ("mean", "std", "95 % interval", "score", "policy", "random"):
        assert word in output
    (row,) = [line for line in output.splitlines() if "policy " in line[2:12]][-1:]
    mean = scores(WALKER)["20"]["mean"]
    assert f"{mean:.1f}" in row and " 2 " in row and " 500 " in row


def test_training_and_eval_write_a_report():
    for words in (by(WALKER), ("--logdir", str(WALKER), "--report")):
        assert f"wrote {WALKER}/report.html" in said_by(*words)
    page = (WALKER / "report.html").read_text()
    assert "random actions" in page and "The dataset&#39;s returns" in page
    assert page.count("data:video/mp4") == 3 and "of memory" in page
    assert "damaged" not in page


def test_eval_writes_the_videos():
    output = said_by("--logdir", str(WALKER), "--imagine")
    assert "wrote out.mp4" in output and "wrote dream.mp4" in output
    out = imageio.imread("out.mp4")
    # two episodes side by side in frames of 128 pixels, above their returns
    assert out.shape[0] == 501 and 256 < out.shape[2] < 300
    assert abs(out[-1].astype(int) - out[0]).max() > 50
    # what the run wrote itself: same model, same sequences
    ours, _ = films(WALKER / "videos/dream")
    np.testing.assert_array_equal(imageio.imread("dream.mp4"), ours)
    flags = ("--logdir", WALKER, "--episodes", 1, "--open-loop", "open.gif")
    assert run_here(PLACE, eval_main, *flags)[::2] == (0, "")
    _, theirs = films(WALKER / "videos/open_loop")
    # another compiler's rounding may tip a pixel
    differ = abs(imageio.imread("open.gif").astype(int) - theirs) > 8
    assert differ.mean() < 1e-3


def test_the_policy_acts_in_other_peoples_code():
    run = dl.load_run(WALKER)
    carry = run.initial(n=3, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    for first in (True, False):
        observation = {"image": images, "is_first": np.full(3, first)}
        action, carry = run.act(carry, observation)
        assert action.shape == (3, 6) and action.dtype == np.float32
        assert (abs(action) < 1).all()


def test_a_run_goes_on_to_the_same_policy():
    """From its policy's first checkpoint. tests/test_state_commands.py kills; so does
    benchmarks/faults/kill.py, at any moment.
    """
    folder = PLACE.path / "gone_on"
    shutil.copytree(WALKER, folder)
    shutil.rmtree(folder / "checkpoints/leq/20")
    flags = ("--configs", "vd4rl", "debug", "--task", "walker_walk-medium_expert")
    flags += ("--data", "data", "--leq.tau", 0.1, "--eval.episodes", 0)
    run = PLACE.run("train_offline.py", *flags, "--logdir", folder)
    assert run[::2] == (0, "") and "world_model" not in run[1]
    assert "latents: encoded" in run[1]
    assert_same(parameters(WALKER, "leq"), parameters(folder, "leq"))


def estimated(path, monkeypatch):
    """What is said of a run by its data alone, after a few updates."""
    for name in ("RETURN_UPDATES", "UPDATES"):
        monkeypatch.setattr(offline, name, 4)
    lines, folder = [], RunFolder(path)
    write_offline(folder, open_data(folder.config, print)[0], lines.append)
    return lines


def test_the_demo_has_all_that_other_runs_have(monkeypatch):
    """Of its own: four samples of the latents of each entry."""
    assert configs.read(DEMO / "config.yaml").encoding.samples > 1
    assert f"wrote {DEMO}/report.html" in SAID
    assert "here 1 held-out episodes begin" in estimated(DEMO, monkeypatch)[-1]


# --- a maze, without any data


def test_a_maze_is_trained_on_data_made_here():
    assert_trained(MAZE)
    output = said_by("maze", "debug")
    shifted = r"rewards: reward × 1 -1 .*; \d+ of 2,\d+ entries have a rew"
    assert re.search(shifted, output)
    assert "2,000 steps of short walks, made here" in output
    assert "the first 2 are elites" in output and "imagined ends: within 0.5" in output


def test_a_maze_is_scored_by_success():
    for updates, score in scores(MAZE).items():
        assert set(score["returns"]) <= {0, 1} and score["episodes"] == 2
        span = wilson_interval(int(sum(score["returns"])), 2)
        assert (score["ci_low"], score["ci_high"]) == span
        assert score["normalized"] == 100 * score["mean"]
        said = f"policy after {updates} updates of LEQ: success {score['mean']:.0%} "
        assert said in said_by("maze", "debug")


def test_the_policy_is_filmed():
    frame, frames = film(MAZE / "videos/policy.mp4")
    assert frames == 1 + max(scores(MAZE)["20"]["lengths"]) and frame.std() > 10


def test_eval_films_too():
    flags = ("--logdir", MAZE, "--episodes", 1, "--video", "maze.mp4")
    code, output, errors = run_here(PLACE, eval_main, *flags)
    assert (code, errors) == (0, "") and "wrote maze.mp4" in output
    found = json.loads((MAZE / "eval.json").read_text())["policy"]
    assert film("maze.mp4")[1] == found["lengths"][0] + 1
    assert found["returns"][0] == scores(MAZE)["20"]["returns"][0]


# --- taken over; a grid of expectiles


def test_pretraining_is_taken_over():
    output = said_by(*by(ALONE))
    for phase in ("world_model", "bc", "fqe"):
        assert f"{phase} " not in output  # nothing of it is run again
        assert_same(parameters(ALONE, phase), parameters(ONE, phase))
    assert {record["phase"] for record in records(ALONE)} == {"leq"}
    ours, theirs = (scores(path)["0"]["returns"] for path in (ALONE, ONE))
    assert ours == theirs


def test_a_grid_trains_every_member_against_one_world_model():
    output = said_by(*by(GRID))
    assert sorted(p.name for p in GRID.glob("tau*")) == MEMBERS
    for name in MEMBERS:
        assert f"{name}: policy after 20 updates of LEQ: return " in output
        assert list(scores(GRID / name)) == ["0", "20"]
        assert {record["phase"] for record in records(GRID / name)} == {"leq"}
        assert film(GRID / name / "videos/policy.mp4")[1] > 2
        assert parameters(GRID / name, "leq")[0] == 20
        found = parameters(GRID / name, "world_model")
        assert_same(found, parameters(ONE, "world_model"))


def test_a_grid_has_a_page_and_each_member_its_own():
    pages = [folder / "report.html" for folder in (GRID, *map(GRID.joinpath, MEMBERS))]
    whole, *own = [page.read_text() for page in pages]
    for name, page in zip(MEMBERS, own, strict=True):
        assert f'<a href="{name}/report.html">' in whole
        assert f'"name":"{name}"' in whole and "policy before LEQ" in page


def test_a_member_equals_the_run_that_is_trained_alone():
    member = GRID / MEMBERS[0]
    (_, (ours, _)), (_, (theirs, _)) = (parameters(f, "leq") for f in (ALONE, member))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, ours, theirs)
    other = parameters(GRID / MEMBERS[1], "leq")[1][0]["params"]["actor"]
    differs = jax.tree.map(lambda a, b: (a != b).any(), ours["params"]["actor"], other)
    assert any(jax.tree.leaves(differs))
    pairs = zip(records(ALONE)[-6:], records(member)[-6:], strict=True)
    for expected, found in pairs:
        assert expected.pop("phase") == found.pop("phase") == "leq"
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_each_member_of_a_grid_has_an_analysis_of_its_own():
    folder = PLACE.path / "analysed"
    shutil.copytree(GRID, folder)
    config, sizes = folder / "config.yaml", dict(sequences=4, episodes=2)
    for file in (config, *folder.glob("tau*/config.yaml")):
        text = file.read_text()
        for name, size in sizes.items():
            text = re.sub(
                rf"(analysis:(?:\n  .*)*\n  {name}: )0", rf"\g<1>{size}", text
            )
        file.write_text(text)
    run = RunFolder(folder)
    analyse(run, open_data(run.config, print)[0], print, workers=1)
    models, values = (
        [
            json.loads((folder / m / f"analysis/{kind}.json").read_text())
            for m in MEMBERS
        ]
        for kind in ("model", "value")
    )
    assert all(model["error"] == models[0]["error"] for model in models)
    assert len({tuple(model["disagreement"]["policy"]) for model in models}) == 3
    assert [value["varying"]["tau"] for value in values] == [0.3, 0.4, 0.5]
    assert not (folder / "analysis").exists()


def test_eval_scores_all_members_of_a_grid():
    code, output, errors = run_here(PLACE, eval_main, "--logdir", GRID)
    assert (code, errors) == (0, "")
    found = json.loads((GRID / "eval.json").read_text())
    for name in MEMBERS:
        theirs = scores(GRID / name)["20"]["returns"]
        assert name in output
        assert found[name]["returns"] == pytest.approx(theirs, rel=1e-6)
    code, _, errors = run_here(PLACE, eval_main, "--logdir", GRID, "--video", "x.mp4")
    line = f"{GRID} is a grid; give one of its runs: {', '.join(MEMBERS)}"
    assert code == 2 and line in errors
    assert run_here(PLACE, eval_main, "--logdir", GRID / MEMBERS[2])[0] == 0


def test_a_grid_is_estimated_without_the_environment(monkeypatch):
    lines = estimated(GRID, monkeypatch)
    unconverged = [x for x in lines if "fitted Q evaluation has not converged" in x]
    assert len(unconverged) == len(MEMBERS)
    files = (GRID / name / "analysis/offline.json" for name in MEMBERS)
    found = [json.loads(file.read_text()) for file in files]
    assert [each["varying"]["tau"] for each in found] == [0.3, 0.4, 0.5]
    assert len({each["calibration"]["bias"] for each in found}) == len(MEMBERS)
    assert len({each["data_return"] for each in found}) == 1


def test_a_grid_is_compared():
    output = said_by("--compare", str(ONE))
    assert "tau 0.4" in output and "interquartile mean" in output
    assert f"{GRID}/{MEMBERS[1]}" in Path("hopper.html").read_text()


# --- two processes


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes that train as one did in the folder ONE, up to behaviour cloning:
    the folder, and what each of them printed.
    """
    folder, data = PLACE.path / "together", "data/hopper_medium_replay-v2.hdf5"
    flags = ("--configs", "d4rl_mujoco", "debug", "--task", "hopper-medium-replay")
    flags += ("--data", PLACE.path / data, "--logdir", folder, "--mesh", "data=2")
    flags += ("--fqe.updates", 0, "--leq.updates", 0)
    addressed = dict(zip(VARIABLES, (free_address(), "2"), strict=False))
    started = []
    for index in range(2):
        mine = addressed | {VARIABLES[2]: str(index)}
        here = Workplace(tmp_path_factory.mktemp("process"), PLACE.cache, mine)
        started.append((here, here.start("train_offline.py", *flags)))
    ends = [process.communicate(timeout=PATIENCE) for _, process in started]
    errors = [error for _, error in ends]
    assert [process.returncode for _, process in started] == [0, 0], errors
    return folder, [here for here, _ in started]


def test_two_processes_train_as_one(together):
    """The same losses, and a policy that can be scored and read by one."""
    folder, _ = together
    ours, theirs = (
        [
            record
            for record in records(path)
            if record.pop("phase") in ("world_model", "bc")
        ]
        for path in (folder, ONE)
    )
    assert len(ours) == len(theirs) > 6
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert list(scores(folder)) == ["0"] and parameters(folder, "bc")[0] == 10
    assert RunFolder(folder).load_agent().world_model.members == 2


def test_the_first_process_alone_speaks_and_writes(together):
    folder, (first, second) = together
    spoken = first.output.read_text()
    assert re.search(r"computing on 2 x \w+ \(\w+\), in 2 processes", spoken)
    assert "bc 10/10" in spoken and f"everything is in {folder}" in spoken
    said = second.output.read_text().splitlines()
    assert not [line for line in said if not line.startswith("[Gloo]")]
    assert not second.files() and not first.files()
    assert len(list((folder / "tensorboard").iterdir())) == 1


# --- an environment of one's own


def test_an_own_environment_is_scored_and_filmed_without_being_named_again():
    folder = Path("runs/pendulum")
    info = json.loads((folder / "info.json").read_text())["dataset"]
    assert info["environment"]["make"] == "examples.own_environment:make"
    assert (info["vector_size"], info["action_size"]) == (3, 1)
    found = json.loads((folder / "eval.json").read_text())["policy"]
    assert found["lengths"] == [100, 100] and 0 <= found["success"] <= 1
    assert found["normalized"] == pytest.approx(found["mean"])
    assert len(imageio.imread("pendulum.mp4")) == 101
    assert (folder / "videos/policy.mp4").exists()
    assert "success" in (folder / "report.html").read_text()
