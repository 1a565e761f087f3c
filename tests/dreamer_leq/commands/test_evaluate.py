"""What eval.py does with a run that has no policy, no environment, or several steps."""

import errno
from argparse import Namespace

import jax
import numpy as np
import pytest
from untrained import write_run

from dreamer_leq import UserError, load_run
from dreamer_leq.commands import evaluate
from dreamer_leq.commands.report import write_report
from dreamer_leq.evaluation.rollouts import EpisodeResults
from dreamer_leq.evaluation.scores import summarize
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.locks import only_user
from vd4rl_loader.collection.pointmaze import collect_pointmaze

NOTHING = dict(episodes=None, seed=None, workers=0, random=False, step=None, data=None)
NOTHING |= dict(env="", video=None, imagine=None, open_loop=None, report=False)
MODEL_ALONE = {f"{phase}.updates": 0 for phase in ("bc", "fqe", "leq")}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collect_pointmaze("umaze", 300, 0, tmp_path_factory.mktemp("d") / "m.hdf5")


@pytest.fixture
def run(data, tmp_path):
    """A run whose policy has checkpoints of 0 and 7 updates."""
    folder = write_run(tmp_path / "run", data, "maze", task="pointmaze-umaze")
    with folder.checkpoints(2) as checkpoints:
        params, _ = checkpoints.restore("leq")
        actor = params["params"]["actor"]
        params["params"]["actor"] = jax.tree.map(lambda x: x + 1.0, actor)
        checkpoints.save("leq", 7, params)
    return folder.path


@pytest.fixture
def scored(monkeypatch):
    """The agents that are scored, without an environment."""
    agents = []

    def score(agent, *_, episodes, **__):
        agents.append(agent)
        returns, lengths = np.arange(episodes), np.full(episodes, 7)
        results = EpisodeResults(returns, lengths, [], [], 1.0)
        return summarize(returns, lengths, (0.0, 1.0), seconds=1.0), results

    monkeypatch.setattr(evaluate, "score", score)
    report = lambda folder, log, *_, **__: log("the report")  # noqa: E731
    monkeypatch.setattr(evaluate, "write_report", report)
    return agents


def eval_run(path, **flags):
    """The lines that it says."""
    lines = []
    given = Namespace(**NOTHING | {"logdir": str(path)} | flags)
    evaluate.evaluate_run(given, lines.append)
    return lines


def rewrite(path, **keys):
    """config.yaml with other values of keys at two spaces."""
    text = (path / "config.yaml").read_text()
    for old, new in keys.values():
        assert old in text
        text = text.replace(old, new)
    (path / "config.yaml").write_text(text)


def test_a_steps_scores_do_not_pass_for_the_last_ones(run, scored):
    eval_run(run)
    eval_run(run, step=0)
    assert {p.name for p in run.glob("eval*.json")} == {"eval.json", "eval-0.json"}
    last, first = (agent.params["actor"] for agent in scored)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a - b, 1, 1e-5), last, first)
    with pytest.raises(UserError, match=r"no checkpoint of step 3 in .*; there are 0"):
        eval_run(run, step=3)
    for wrong in (
        -1,
        "x",
        run / "checkpoints/leq",
        run / "checkpoints/leq/3",
        "a" * 999,
    ):
        with pytest.raises(UserError, match="give a number of updates, 0 or more, or"):
            eval_run(run, step=wrong)
    other = run.parent / "other/checkpoints/leq/0"
    other.mkdir(parents=True)
    with pytest.raises(UserError, match="a checkpoint of the run, such as"):
        eval_run(run, step=other)


def test_a_loaded_run_can_be_of_a_step(run):
    seen = {"vector": np.zeros((1, 2), np.float32), "is_first": np.ones(1, bool)}
    actions = []
    for step in (None, 7, 0, run / "checkpoints/leq/0"):
        loaded = load_run(run, step=step)
        actions.append(loaded.act(loaded.initial(1), seen)[0])
    assert (actions[0] == actions[1]).all() and (actions[0] != actions[2]).any()
    assert (actions[2] == actions[3]).all()


def test_a_world_model_alone_says_so(data, tmp_path, scored):
    folder = write_run(tmp_path / "run", data, "maze", task="pointmaze-umaze")
    for phase in ("leq",):
        folder.checkpoints(1).forget(phase)
    with pytest.raises(
        UserError, match="no policy yet: its world model is in training"
    ):
        eval_run(folder.path)
    alone = write_run(
        tmp_path / "alone", data, "maze", task="pointmaze-umaze", **MODEL_ALONE
    )
    alone.checkpoints(1).forget("leq")
    with pytest.raises(UserError, match=r"only its world model was trained; .*--open"):
        eval_run(alone.path)
    assert eval_run(alone.path, report=True) == [
        f"not scored: {alone.path} {alone.without_policy}",
        "the report",
    ]
    assert not scored


def test_without_an_environment_only_the_scores_are_missing(run, scored):
    rewrite(run, episodes=("eval:\n  episodes: 2", "eval:\n  episodes: 0"))
    assert RunFolder(run).config.eval.episodes == 0
    with pytest.raises(UserError, match=r"has eval\.episodes 0: give --episodes"):
        eval_run(run)
    said = f"not scored: {run} has eval.episodes 0: give --episodes"
    assert eval_run(run, report=True) == [said, "the report"] and not scored
    eval_run(run, episodes=3)
    assert len(scored) == 1


def test_a_folder_that_can_not_be_written_to_is_scored_all_the_same(
    run, scored, monkeypatch, capsys
):
    def refuse(path, scores):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(evaluate, "write_scores", refuse)
    (said,) = eval_run(run)
    assert said.startswith(f"not kept: {run / 'eval.json'}: Read-only file system")
    assert "policy" in capsys.readouterr().out


def test_two_reports_at_once_are_refused(run):
    with only_user(run, "report"), pytest.raises(UserError, match="in use by pid"):
        write_report(RunFolder(run), print, lambda: None)
