"""The commands as people run them: one small run, looked at from all sides."""

import json
import re
import shlex
import shutil
from pathlib import Path

import imageio.v3 as imageio
import jax
import numpy as np
import pytest
from workplace import (
    ANALYSED,
    ROOT,
    Workplace,
    films,
    records,
    refused,
    run_here,
    scalars,
    scores,
)

import dreamer_leq as dl
from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main, train_main
from dreamer_leq.data.opening import open_data
from dreamer_leq.evaluation.videos import dream_grid, open_loop_grid
from dreamer_leq.training.checkpoints import Checkpoints

DEBUG = configs.from_presets("debug")
RUN = Path("runs/walker_walk-medium_expert/seed0")
DATA = Path("datasets/fast-2x-noise0.3-seed0/main/walker_walk/medium_expert/64px")
PHASES = ("world_model", "bc", "fqe", "leq")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache):
    """A workplace in which `--configs debug` has run, undisturbed."""
    place = Workplace(tmp_path_factory.mktemp("trained"), cache)
    flags = ("--configs", "debug", *ANALYSED)
    code, output, errors = place.run("train_offline.py", *flags)
    assert code == 0, errors
    place.stdout, place.stderr = output, errors
    return place


@pytest.fixture(scope="module")
def dataset(trained):
    return trained.path / DATA


@pytest.fixture
def fresh(tmp_path, cache):
    (tmp_path / "here").mkdir()
    return Workplace(tmp_path / "here", cache)


# --- training


def test_it_says_what_it_does_and_where_things_are(trained):
    assert trained.stderr.startswith("collecting episodes") and "2/2" in trained.stderr
    assert len(trained.stderr.splitlines()) == 1
    lines = trained.stdout.splitlines()
    assert f"run folder: {RUN}" in lines
    assert any(re.match(r"rendering with \w+, .+ \((software|GPU)\)", x) for x in lines)
    assert any(re.match(r"computing on 1 x \w+", x) for x in lines)
    for phase, updates in zip(PHASES, (20, 10, 10, 20), strict=True):
        assert f"{phase} {updates}/{updates}" in trained.stdout
    assert re.search(r"policy after 0 updates of LEQ: return \d+ ± ", trained.stdout)
    assert re.search(r"policy after 20 updates of LEQ: return \d+ ± ", trained.stdout)
    assert f"everything is in {RUN}" in trained.stdout
    for named in re.findall(rf"  ({RUN}\S+)   ", trained.stdout):
        assert (trained.path / named).exists()
    score = shlex.split(lines[lines.index("go on with") + 1])
    assert score[:4] == ["python", str(ROOT / "eval.py"), "--logdir", str(RUN)]


def test_the_folder_holds_configuration_and_provenance(trained):
    folder = trained.path / RUN
    analysed = {"analysis.sequences": 4, "analysis.episodes": 2}
    expected = configs.from_presets("debug", **analysed)
    assert not configs.difference(configs.read(folder / "config.yaml"), expected)
    info = json.loads((folder / "info.json").read_text())
    assert info["seed"] == 0 and info["backend"] == jax.default_backend()
    assert info["packages"]["jax"] == jax.__version__
    statistics = info["dataset"]["statistics"]
    assert (statistics["episodes"], statistics["entries"]) == (2, 1002)
    environment = info["dataset"]["environment"]
    assert (environment["suite"], environment["task"]) == ("dm_control", "walker_walk")
    assert environment["render"]["name"] == "fast"
    assert not [file for file in folder.rglob("*") if "tmp" in file.name]


def test_metrics_are_in_order_and_finite(trained):
    found = records(trained.path / RUN)
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


def test_tensorboard_shows_what_the_metrics_say(trained):
    shown = scalars(trained.path / RUN)
    for phase in PHASES:
        assert any(tag.startswith(f"{phase}/") for tag in shown)
    for record in records(trained.path / RUN):
        for name in record.keys() - {"phase", "step"}:
            values = dict(shown[f"{record['phase']}/{name}"])
            assert values[record["step"]] == np.float32(record[name]), name


def test_the_last_checkpoints_are_kept(trained):
    checkpoints = Checkpoints(trained.path / RUN / "checkpoints")
    kept = {phase: checkpoints.steps(phase) for phase in PHASES}
    early, late = [0, 10], [10, 20]
    assert kept == {"world_model": late, "bc": early, "fqe": early, "leq": late}


def test_scores_before_and_after(trained):
    found = scores(trained.path / RUN)
    assert list(found) == ["0", "20"]
    for score in found.values():
        assert score["episodes"] == 2 and score["lengths"] == [500, 500]
        assert all(0 <= x <= 1000 for x in score["returns"])
        assert score["mean"] == np.mean(score["returns"])
        assert score["normalized"] == pytest.approx(score["mean"] / 10, rel=1e-12)
    assert found["0"]["returns"] != found["20"]["returns"]


def test_imagined_videos(trained):
    length, context = DEBUG.video.length, DEBUG.video.context
    sequences, members = DEBUG.video.sequences, DEBUG.latent.members
    images = np.zeros((sequences, length, 64, 64, 3), np.uint8)
    grids = {
        "open_loop": open_loop_grid(images, images, context),
        "dream": dream_grid(images[:1].repeat(members, 0), np.zeros((members, length))),
    }
    for name, grid in grids.items():
        _, height, width, _ = grid.shape
        for film in films(trained.path / RUN / "videos" / name):
            assert film.shape == (length, height, width + width % 2, 3)
            assert film.std() > 10  # something is to be seen
            assert abs(film[-1].astype(int) - film[0]).max() > 50


# --- evaluation


@pytest.fixture(scope="module")
def evaluated(trained):
    """stdout of eval.py with everything."""
    code, output, errors = trained.run(
        *("eval.py", "--logdir", RUN, "--episodes", 1, "--report"),
        *("--video", "out.mp4", "--imagine", "dream.mp4", "--open-loop", "open.gif"),
    )
    assert (code, errors) == (0, "")
    return output


def test_eval_repeats_the_score_that_training_gave(trained, evaluated):
    found = json.loads((trained.path / RUN / "eval.json").read_text())
    assert list(found) == ["policy", "random"]
    after = scores(trained.path / RUN)["20"]
    ours, theirs = found["policy"]["returns"], after["returns"][:1]
    assert ours == pytest.approx(theirs, rel=1e-5)  # batches of one and of two
    assert found["random"]["returns"] != ours


def test_eval_prints_a_table(trained, evaluated):
    after = scores(trained.path / RUN)["20"]
    for word in ("mean", "std", "95 % interval", "score", "policy", "random", str(RUN)):
        assert word in evaluated
    (row,) = [line for line in evaluated.splitlines() if "policy " in line[2:12]][-1:]
    assert f"{after['returns'][0]:.1f}" in row and " 1 " in row and " 500 " in row


def test_training_and_eval_write_a_report(trained, evaluated):
    assert f"wrote {RUN}/report.html" in trained.stdout
    assert f"wrote {RUN}/report.html" in evaluated
    page = (trained.path / RUN / "report.html").read_text()
    assert "random actions" in page and "The dataset&#39;s returns" in page
    assert page.count("data:video/mp4") == 3 and "of memory" in page
    assert "damaged" not in page


def test_eval_writes_the_videos(trained, evaluated):
    for name in ("out.mp4", "dream.mp4", "open.gif"):
        assert f"wrote {name}" in evaluated
    out = imageio.imread(trained.path / "out.mp4")
    # in frames of 128 pixels, above its return
    assert out.shape[0] == 501 and out.shape[2] < 286
    assert abs(out[-1].astype(int) - out[0]).max() > 50
    # what the run wrote itself: same model, same sequences
    (ours, _), (_, open_loop) = (
        films(trained.path / RUN / "videos/dream"),
        films(trained.path / RUN / "videos/open_loop"),
    )
    np.testing.assert_array_equal(imageio.imread(trained.path / "dream.mp4"), ours)
    np.testing.assert_array_equal(imageio.imread(trained.path / "open.gif"), open_loop)


def test_the_policy_acts_in_other_peoples_code(trained):
    run = dl.load_run(trained.path / RUN)
    carry = run.initial(n=3, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    for first in (True, False):
        observation = {"image": images, "is_first": np.full(3, first)}
        action, carry = run.act(carry, observation)
        assert action.shape == (3, 6) and action.dtype == np.float32
        assert (abs(action) < 1).all()


# --- interruptions


@pytest.fixture(scope="module")
def gone_on(trained):
    """What the same command says, and the folder, where the run had got no further than
    its policy's first checkpoint. tests/test_state_commands.py kills; so does
    benchmarks/faults/kill.py, at any moment.
    """
    folder = trained.path / "gone_on"
    shutil.copytree(trained.path / RUN, folder)
    shutil.rmtree(folder / "checkpoints/leq/20")
    flags = ("--configs", "debug", "--eval.episodes", 0, "--logdir", folder)
    code, output, errors = trained.run("train_offline.py", *flags)
    assert (code, errors) == (0, "")
    return output, folder


def test_a_run_goes_on_to_the_same_policy(trained, gone_on):
    output, folder = gone_on
    assert "latents: encoded" in output and "world_model" not in output
    states = []
    for run in (trained.path / RUN, folder):
        checkpoints = Checkpoints(run / "checkpoints")
        states.append(checkpoints.restore("leq", step=checkpoints.latest("leq")))
    a, b = states
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# --- what users get wrong


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--leq.tua", "0.3"], "did you mean --leq.tau?"),
        (["--leq.tau", "low"], "leq.tau: expected a number, or several, got"),
        (["--configs", "debgu"], "did you mean debug?"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "."], "."),
    ],
)
def test_training_refuses(fresh, flags, said):
    if "--configs" not in flags:
        flags = ["--configs", "debug", *flags]
    assert said in refused(fresh, train_main, *flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--logdir"),
        (["--logdir", "nowhere"], "nowhere is not a run's folder"),
        (["--logdir", "x", "--vidoe", "out.mp4"], "--vidoe"),
        (["--logdir", "x", "--episodes", "many"], "--episodes"),
        (["--logdir", "x", "--episodes", "0"], "--episodes 0"),
        (["--logdir", "x", "--video", "out.avi"], "ends in .mp4 or .gif"),
        (["--logdir", "x", "--imagine", "dream"], "ends in .mp4 or .gif"),
    ],
)
def test_evaluation_refuses(fresh, flags, said):
    assert said in refused(fresh, eval_main, *flags)


def test_a_run_without_a_policy_can_not_be_scored(trained, fresh):
    shutil.copytree(trained.path / RUN, fresh.path / "run")
    for phase in ("bc", "fqe", "leq"):
        shutil.rmtree(fresh.path / "run/checkpoints" / phase)
    said = refused(fresh, eval_main, "--logdir", "run")
    assert "no policy yet" in said


def test_imagined_videos_without_their_dataset_are_refused_first(trained, fresh):
    shutil.copytree(trained.path / RUN, fresh.path / "run")
    said = refused(fresh, eval_main, "--logdir", "run", "--imagine", "dream.mp4")
    assert "datasets/fast" in said


def test_another_configuration_in_the_same_folder(trained):
    before = (trained.path / RUN / "config.yaml").read_bytes()
    flags = ("--configs", "debug", "--leq.tau", "0.4", "--collect.episodes", "3")
    said = refused(trained, train_main, *flags)
    assert str(RUN) in said and "leq.tau" in said and "--logdir" in said
    assert (trained.path / RUN / "config.yaml").read_bytes() == before


def test_a_damaged_file_is_named(dataset, fresh):
    folder = fresh.path / "data/64px"
    shutil.copytree(dataset, folder, ignore=shutil.ignore_patterns(".*"))
    damaged = max(folder.glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:10_000])
    flags = ("--configs", "debug", "--data", "data/64px", "--logdir", "run")
    code, _, errors = run_here(fresh, train_main, *flags)
    assert code == 2 and errors.startswith("error: ")
    assert "Traceback" not in errors and damaged.name in errors
    assert max(folder.glob("*.npz"), default=None) == damaged  # nobody's to delete
    assert not (fresh.path / "run").exists()
    leftovers = {path.suffix for path in folder.glob(".cache/*")}
    assert leftovers <= {".lock"}


def test_the_cache_goes_where_the_user_says(dataset, tmp_path):
    folder = tmp_path / "64px"
    shutil.copytree(dataset, folder, ignore=shutil.ignore_patterns(".*"))
    where = {"data.path": str(folder), "data.cache_dir": str(tmp_path / "cache")}
    config = configs.from_presets("debug", **where)
    open_data(config, lambda line: None)
    assert list((tmp_path / "cache").rglob("image.npy"))
    assert not (folder / ".cache").exists()


# --- help


def test_help_of_training_explains_every_key(fresh):
    code, output, errors = fresh.run("train_offline.py", "--help")
    assert (code, errors) == (0, "")
    for key in ("--leq.tau", "--latent.optimizer.agc", "--data.path", "--configs"):
        assert key in output
    assert not fresh.files()


def test_help_of_evaluation(fresh):
    code, output, errors = fresh.run("eval.py", "--help")
    assert (code, errors) == (0, "")
    for flag in ("--logdir", "--episodes", "--video", "--imagine", "--open-loop"):
        assert flag in output
