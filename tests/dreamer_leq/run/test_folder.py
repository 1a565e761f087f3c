"""A run's folder goes on with its own configuration and data only."""

import json
import re
from dataclasses import replace

import jax.numpy as jnp
import pytest

from dreamer_leq import UserError
from dreamer_leq import config as configs
from dreamer_leq.config.free_keys import FREE_KEYS
from dreamer_leq.run.facts import DataFacts
from dreamer_leq.run.folder import RunFolder
from dreamer_leq.system.files import FORMAT

STATISTICS = {"entries": 1002, "return_mean": 1 / 3, "source_bytes": 10}
RENDER = {"name": "fast", "size": 64}
ENVIRONMENT = {
    "suite": "dm_control",
    "task": "walker_walk",
    "render": RENDER,
    "action_repeat": 2,
    "image_size": 64,
}
REWARD = {"scale": 1.0, "bias": 0.0}
FACTS = DataFacts("data", ENVIRONMENT, 64, 0, 6, REWARD, STATISTICS)
DEBUG = configs.from_presets("debug")


@pytest.fixture
def folder(tmp_path):
    """One in which a run has begun."""
    folder = RunFolder(tmp_path / "run")
    folder.refuse_other(DEBUG)
    folder.begin(DEBUG, FACTS)
    return folder


def go_on(folder, config=DEBUG, facts=FACTS):
    folder.refuse_other(config)
    folder.begin(config, facts)


def test_it_comes_back_as_it_was(folder):
    assert not configs.difference(folder.config, DEBUG) and folder.facts == FACTS
    go_on(folder)
    assert not configs.difference(folder.config, DEBUG) and folder.facts == FACTS


@pytest.mark.parametrize("key", ["seed", "leq.tau", "latent.length"])
def test_another_configuration_is_refused(folder, key):
    values = {"seed": 7, "leq.tau": 0.3, "latent.length": 5}
    with pytest.raises(UserError, match=f"another {key}:"):
        go_on(folder, configs.from_presets("debug", **{key: values[key]}))
    assert not configs.difference(folder.config, DEBUG)


def test_what_changes_nothing_that_is_learned_may_change(folder):
    values = {"data.path": "moved", "checkpoint.every": 3, "eval.workers": 1}
    values |= {"eval.episodes": 0, "eval.every": 7, "log.every": 3, "pretrained": "x"}
    assert values.keys() <= set(FREE_KEYS)
    config = configs.from_presets("debug", **values)
    go_on(folder, config)
    assert not configs.difference(folder.config, config)


def reached(folder, **steps):
    """The folder with checkpoints of these phases."""
    for phase, step in steps.items():
        with folder.checkpoints(1) as checkpoints:
            checkpoints.save(phase, step, {"x": jnp.zeros(1)}, {"totals": {}})


CONSTANT = {
    f"leq.{name}_optimizer.schedule": "constant" for name in ("actor", "critic")
}


@pytest.mark.parametrize(
    ("steps", "updates"),
    [({}, 50), ({"leq": 0}, 50), ({"leq": 20}, 50), ({"leq": 8}, 9), ({"bc": 5}, 50)],
)
def test_updates_at_a_constant_rate_go_on(tmp_path, steps, updates):
    folder, began = RunFolder(tmp_path), configs.from_presets("debug", **CONSTANT)
    folder.begin(began, FACTS)
    reached(folder, **steps)
    go_on(folder, configs.from_presets("debug", **CONSTANT, **{"leq.updates": updates}))
    assert folder.config.leq.updates == updates


@pytest.mark.parametrize(
    ("steps", "change", "said"),
    [
        ({"leq": 20}, {"leq.updates": 50}, "its learning rate ends after 20"),
        ({"leq": 9}, {**CONSTANT, "leq.updates": 8}, "9 are done"),
        ({"bc": 9, "leq": 0}, {"bc.updates": 20}, "fqe has begun with what 10 updates"),
        ({"bc": 0, "world_model": 9}, {"latent.updates": 30}, "bc has begun with what"),
    ],
)
def test_updates_that_can_not_go_on_say_why_and_what_to_do(
    tmp_path, steps, change, said
):
    folder = RunFolder(tmp_path)
    began = {k: v for k, v in change.items() if not k.endswith(".updates")}
    folder.begin(configs.from_presets("debug", **began), FACTS)
    reached(folder, **steps)
    with pytest.raises(UserError, match=rf"can't become \d+: .*{said}.*--pretrained"):
        go_on(folder, configs.from_presets("debug", **change))


def test_the_best_checkpoint_is_kept_where_that_is_wanted(tmp_path):
    for wanted, kept in ((True, [10, 30]), (False, [30])):
        folder = RunFolder(tmp_path / str(wanted))
        keys = {"checkpoint.keep": 1, "checkpoint.keep_best": wanted}
        config = configs.from_presets("debug", **keys)
        with folder.kept_checkpoints(config) as checkpoints:
            for step, mean in ((0, 1.0), (10, 5.0), (20, 3.0), (30, 2.0)):
                folder.add_scores(step, {"mean": mean})
                for phase in ("bc", "leq"):
                    checkpoints.save(phase, step, {"x": jnp.zeros(1)})
            assert checkpoints.steps("leq") == kept and checkpoints.steps("bc") == [30]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.touch(), "run is a file, no folder"),
        (lambda path: path.symlink_to("nowhere"), "run is a link to nothing"),
    ],
)
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_what_is_no_folder_is_refused_first(tmp_path, make, said, below):
    make(tmp_path / "run")
    with pytest.raises(UserError, match=f"--logdir .*{said}: choose another"):
        RunFolder(tmp_path / "run" / below).refuse_other(DEBUG)


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://bucket", "x" * 300])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UserError, match="is not a path on this machine"):
        RunFolder(path)


def test_homes_are_written_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/run").path == tmp_path / "run"
    config = configs.from_presets("debug", logdir="~/a", **{"data.path": "~/b"})
    assert (config.logdir, config.data.path) == (f"{tmp_path}/a", f"{tmp_path}/b")
    assert configs.load(["--logdir", "~/c"]).folder == tmp_path / "c"


def test_a_folder_in_use_is_not_gone_on_with(folder):
    folder.refuse_busy()
    with folder.in_use(), pytest.raises(UserError, match="in use by pid"):
        folder.refuse_busy()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"statistics": STATISTICS | {"return_mean": 0.5}}, "return_mean"),
        ({"statistics": STATISTICS | {"entries": 1503}}, "entries"),
        ({"environment": ENVIRONMENT | {"render": {"name": "vd4rl"}}}, "render"),
        ({"environment": ENVIRONMENT | {"task": "cheetah_run"}}, "task"),
        ({"vector_size": 17}, "vector_size"),
        ({"reward": {"scale": 2.0, "bias": 0.0}}, "reward"),
    ],
)
def test_other_data_is_refused(folder, other, said):
    with pytest.raises(UserError, match=f"another {said}\\)"):
        go_on(folder, facts=replace(FACTS, **other))
    assert folder.facts == FACTS


def test_data_may_move_and_be_stored_in_another_way(folder):
    statistics = STATISTICS | {"source_bytes": 99}
    moved = replace(FACTS, path="elsewhere", statistics=statistics)
    go_on(folder, facts=moved)
    assert folder.facts == moved


def test_a_run_of_before_the_histogram_goes_on(folder):
    """Its dataset's histogram is noted from then on."""
    histogram = {"edges": [0.0, 1.0, 2.0], "counts": [3, 4]}
    facts = replace(FACTS, return_histogram=histogram)
    info = json.loads((folder.path / "info.json").read_text())
    del info["dataset"]["return_histogram"]
    (folder.path / "info.json").write_text(json.dumps(info))
    assert folder.facts == FACTS
    go_on(folder, facts=facts)
    assert folder.facts.return_histogram == histogram


def test_a_folder_of_something_else_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    for name in ("config", "facts"):
        with pytest.raises(UserError, match="not a run's folder"):
            getattr(folder, name)


def test_scores_are_kept_in_the_order_of_updates(folder):
    for updates in (20, 0, 100, 20):
        folder.add_scores(updates, {"mean": updates / 3})
    scores = json.loads((folder.path / "scores.json").read_text())
    assert list(scores.items()) == [(str(n), {"mean": n / 3}) for n in (0, 20, 100)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: [], "dataset: missing"),
        (lambda info: {"dataset": 3}, "dataset: missing"),
        (lambda info: info["dataset"].update(path=["x"]) or info, "dataset.path: is "),
        (lambda info: info["dataset"].update(image_size=-1) or info, "image_size: is"),
        (lambda info: info["dataset"].update(reward={"scale": 1}) or info, "reward: "),
    ],
)
def test_damaged_facts_are_named(folder, change, said):
    path = folder.path / "info.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        _ = folder.facts
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", '{"x": 1}', "[" * 100_000])
def test_damaged_scores_are_noticed_before_the_training(folder, text):
    (folder.path / "scores.json").write_text(text)
    with pytest.raises(UserError, match=r"scores\.json: "):
        go_on(folder)


# --- runs of other versions


def rewrite(folder, **facts):
    """info.json as another version would have left it; None takes a field away."""
    file = folder.path / "info.json"
    info = json.loads(file.read_text()) | facts
    file.write_text(json.dumps({k: v for k, v in info.items() if v is not None}))


def test_the_format_is_written(folder):
    info = json.loads((folder.path / "info.json").read_text())
    assert info["format"] == FORMAT >= 1


def test_a_run_of_an_earlier_format_is_read_but_not_gone_on_with(folder):
    rewrite(folder, format=None)
    assert not configs.difference(folder.config, DEBUG) and folder.facts == FACTS
    with pytest.raises(UserError, match=r"earlier version.*eval\.py can score"):
        go_on(folder)


@pytest.mark.parametrize("name", ["config", "facts"])
def test_a_later_format_is_refused(folder, name):
    rewrite(folder, format=FORMAT + 1)
    with pytest.raises(UserError, match=f"format {FORMAT + 1}.*update dreamer-leq"):
        getattr(folder, name)


def test_keys_that_are_younger_than_a_run_say_what_it_did(folder):
    file = folder.path / "config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    younger = ("seeds:", "mesh:", "  frequencies:")
    file.write_text("".join(x for x in lines if not x.startswith(younger)))
    rewrite(folder, format=None)
    assert len(file.read_text().splitlines()) == len(lines) - 3
    assert not configs.difference(folder.config, DEBUG)


def test_an_earlier_configuration_says_that_it_is_one(folder):
    file = folder.path / "config.yaml"
    file.write_text(file.read_text().replace("precision: auto\n", ""))
    with pytest.raises(UserError, match=r"missing key precision$"):
        _ = folder.config
    rewrite(folder, format=None)
    with pytest.raises(UserError, match=r"missing key precision; .* earlier version"):
        _ = folder.config


@pytest.mark.parametrize(
    ("presets", "shares"), [(("hopper", "mopo"), True), (("d4rl_rssm",), False)]
)
def test_who_may_see_other_rewards_than_their_world_model(tmp_path, presets, shares):
    """An ensemble learns them raw, so that algorithms with rewards of their own share
    it; what an RSSM learns depends on them. Networks always do.
    """
    facts = replace(FACTS, vector_size=11, image_size=0)
    first = RunFolder(tmp_path / "leq")
    first.begin(configs.from_presets(presets[0], "debug"), facts)
    with first.checkpoints(1) as checkpoints:
        for phase in ("world_model", "bc", "leq"):
            checkpoints.save(phase, 0, {"x": jnp.zeros(1)}, {"over": True})
    other = replace(facts, reward={"scale": 0.1, "bias": 0.0})
    config = configs.from_presets(*presets, "debug")
    if not shares:
        with pytest.raises(UserError, match="has another reward"):
            first.refuse_to_pretrain(config, other)
        return
    first.refuse_to_pretrain(config, other)
    last = RunFolder(tmp_path / "rambo")
    config = configs.from_presets("hopper", "debug", **{"leq.tau": 0.3})
    last.begin(config, other)
    assert "not its policy, which has another reward" in last.take_over(first, config)
    assert last.has_world_model and last.checkpoints(1).latest("bc") is None
