"""What the commands refuse, and their help. .ci/test_readme_runs.py looks at what they
have trained, once `.ci/run` has run those of the README.
"""

import pytest
import vd4rl_files
from small_runs import pixel_run
from workplace import Workplace, refused, run_here

from dreamer_leq import config as configs
from dreamer_leq.cli import eval_main, train_main
from dreamer_leq.data.opening import open_data


@pytest.fixture
def fresh(tmp_path):
    (tmp_path / "here").mkdir()
    return Workplace(tmp_path / "here", tmp_path)


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


def test_imagined_videos_without_their_dataset_are_refused_first(fresh):
    run = pixel_run(fresh.path)
    (fresh.path / "images").rename(fresh.path / "elsewhere")
    said = refused(fresh, eval_main, "--logdir", run, "--imagine", "dream.mp4")
    assert str(fresh.path / "images") in said


def test_another_configuration_in_the_same_folder(fresh):
    run = pixel_run(fresh.path)
    flags = ("--configs", "debug", "--leq.tau", "0.4", "--logdir", run)
    said = refused(fresh, train_main, *flags)
    assert str(run) in said and "leq.tau" in said and "--logdir" in said


def test_a_damaged_file_is_named(fresh):
    folder = fresh.path / "data/64px"
    vd4rl_files.write_folder(folder, map(vd4rl_files.episode, (0, 1)))
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


def test_the_cache_goes_where_the_user_says(tmp_path):
    folder = tmp_path / "64px"
    vd4rl_files.write_folder(folder, [vd4rl_files.episode(0)])
    where = {"data.path": str(folder), "data.cache_dir": str(tmp_path / "cache")}
    config = configs.from_presets("vd4rl", "debug", **where)
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
