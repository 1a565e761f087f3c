"""Configurations: one YAML, typed flags over it, and refusals that say what to do."""

import contextlib
import dataclasses
import math
import os
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from ruamel.yaml import YAML

from dreamer_leq import config
from dreamer_leq.config import files, learners
from dreamer_leq.config.tree import config_class
from dreamer_leq.system.errors import UserError

TEXT = config.CONFIGS.read_text()
YAML_TREE = YAML(typ="safe", pure=True).load(TEXT)
PRESETS = [name for name in YAML_TREE if name != "defaults"]


def field_types(kind=None, prefix=""):
    kind = kind or config_class()
    hints = get_type_hints(kind)
    for name, hint in ((x.name, hints[x.name]) for x in dataclasses.fields(kind)):
        if dataclasses.is_dataclass(hint):
            yield from field_types(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def yaml_values(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, dict):
            yield from yaml_values(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


KEYS = dict(field_types())
DEFAULTS = dict(yaml_values(YAML_TREE["defaults"]))


def presets_with(name):
    """The preset, over one that it needs: one for states where it is an algorithm's
    from these, one with an algorithm where it is only of frames' sizes.
    """
    tree = YAML_TREE[name]
    if name == "small_frames":
        return ("drq_bc", name)
    of_states = "algorithm" in tree and tree["world_model"] != "frames"
    return ("d4rl_mujoco", name) if of_states else (name,)


def value_of(tree, key):
    for name in key.split("."):
        tree = getattr(tree, name)
    return tree


def refusal(call, *args, **kwargs):
    """The message of the UserError that a call has to raise; always one line."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of configs.yaml with one passage replaced."""
    assert old in TEXT
    path = tmp_path / "configs.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return path


# --- configs.yaml --------------------------------------------------------------------


def test_every_field_has_a_default_and_every_default_a_field():
    assert set(DEFAULTS) == set(KEYS)


def test_no_default_is_written_in_python():
    for field in dataclasses.fields(config.Config):
        assert field.default is dataclasses.MISSING
        for inner in getattr(field.type, "__dataclass_fields__", {}).values():
            assert inner.default is dataclasses.MISSING


def test_every_key_and_preset_has_a_comment_right_above_it():
    lines = TEXT.splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r" *[a-z_0-9]+:", line)]
    presets_from = lines.index("vd4rl:")
    for i in keys:
        if lines[i] == "defaults:" or (i > presets_from and lines[i].startswith(" ")):
            continue
        assert lines[i - 1].lstrip().startswith("# "), f"line {i + 1}: {lines[i]}"


def test_defaults_are_the_papers_pixel_setting():
    run = config.from_presets()
    sizes = run.latent.deter, run.latent.stoch, run.latent.classes, run.latent.members
    assert sizes == (2048, 32, 16, 7)
    assert run.latent.mults == (1, 2, 3, 4, 4)
    assert (run.latent.updates, run.leq.updates) == (150_000, 150_000)
    assert run.leq.batch == run.latent.batch * run.latent.length == 1040
    assert (run.leq.horizon, run.leq.tau, run.leq.lam) == (5, 0.1, 0.95)
    assert run.leq.gamma == pytest.approx(1 - 1 / 333, abs=1e-15)
    assert (run.actor.entropy, run.actor.bc_weight, run.bc.updates) == (0, 0, 0)
    optimizers = {run.latent.optimizer, run.bc.optimizer, run.fqe.optimizer}
    (optimizer,) = optimizers | {run.leq.actor_optimizer, run.leq.critic_optimizer}
    assert (optimizer.kind, optimizer.learning_rate) == ("laprop", 4e-5)
    assert (optimizer.warmup, optimizer.agc, optimizer.eps) == (1000, 0.3, 1e-20)


@pytest.mark.parametrize("name", ["d4rl_mujoco", "d4rl_antmaze", "neorl"])
def test_states_have_the_papers_setting(name):
    """Its Tables 8, 9 and 19 to 22, and appendix A."""
    run, c = config.from_presets(name), config.from_presets(name).ensemble
    assert run.world_model == "mlp_ensemble"
    sizes = (c.members, c.elites, c.layers, c.units, c.batch, c.learning_rate)
    assert sizes == (7, 5, 4, 200, 256, 1e-3)
    for net in (run.actor, run.critic):
        assert (net.network, net.layers, net.units) == ("mlp", 3, 256)
    assert (run.critic.output, run.critic.ema_decay) == ("scalar", 0.995)
    leq = run.leq
    assert (leq.horizon, leq.beta, leq.gamma, leq.lam) == (10, 0.25, 0.997, 0.95)
    assert (leq.updates, leq.batch, leq.return_norm) == (1_000_000, 256, False)
    actor, critic = leq.actor_optimizer, leq.critic_optimizer
    assert (actor.learning_rate, actor.schedule) == (3e-5, "cosine")
    assert (critic.learning_rate, critic.schedule) == (1e-4, "constant")
    for o in (actor, critic, run.bc.optimizer, run.fqe.optimizer):
        assert (o.kind, o.warmup, o.agc, o.eps) == ("adam", 0, 0, 1e-8)
    more = run.expansion
    assert (more.interval, more.starts, more.length) == (5000, 50_000, 5)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_exactly_what_it_names(name):
    names = presets_with(name)
    run, plain = config.from_presets(*names), config.from_presets(*names[:-1])
    named = dict(yaml_values(YAML_TREE[name]))
    for key, value in named.items():
        held = value_of(run, key)
        listed = list(value) if isinstance(value, list) else [value]
        assert (list(held) if isinstance(held, tuple) else [held]) == listed
    changed = {key for key in KEYS if value_of(run, key) != value_of(plain, key)}
    assert changed <= set(named)


@pytest.mark.parametrize("name", [name for name in PRESETS if "size" in name])
def test_sizes_give_actor_and_critic_the_world_models_units(name):
    run = config.from_presets(name)
    assert run.latent.units == run.actor.units == run.critic.units
    assert run.latent.deter == 8 * run.latent.hidden  # DreamerV3's proportions
    assert run.latent.classes == run.latent.depth


def test_values_are_plain_python_of_the_declared_type():
    run = config.from_presets()
    for key, kind in KEYS.items():
        value = value_of(run, key)
        assert type(value) in (str, int, float, bool, tuple)
        if kind in (int, float, bool, str):
            assert type(value) is kind, key


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  log: {every: 5}", "  logs: {every: 5}", "debug: unknown key logs; did you"),
        ("tau: 0.1\n", "tua: 0.1\n", "unknown key leq.tua; did you mean leq.tau?"),
        ("    tau: 0.1\n", "", "defaults: missing key leq.tau"),
        ("seed: 0", "seed: true", "seed: expected a whole number, got True"),
        ("remat: false", "remat: 0", "latent.remat: expected true or false, got 0"),
        ("[1, 2, 3, 4, 4]", "four", "latent.mults: expected a list of whole numbers"),
        (
            "render: vd4rl",
            "render: fats",
            "expected vd4rl or fast, got 'fats'; did you",
        ),
        ("{episodes: 2}", "2", "debug: eval: expected keys with values, got 2"),
        ("seed: 0", "seed: 0\n  seed: 1", "not valid YAML: line"),
    ],
)
def test_a_wrong_yaml_is_refused_whatever_presets_are_used(tmp_path, old, new, said):
    path = edited(tmp_path, old, new)
    message = refusal(config.load, ["--configs", "vd4rl"], path)
    assert message.startswith(str(path)) and said in message


def test_a_missing_yaml_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    assert refusal(config.load, [], path) == (
        f"{path}: cannot be read: No such file or directory"
    )


# --- flags ---------------------------------------------------------------------------


def test_without_arguments_it_is_the_demo():
    assert config.load([]) == config.load(["--configs", "demo"])
    assert config.load([]) == config.from_presets("demo")


def test_given_presets_replace_the_demo_and_apply_in_order():
    assert config.load(["--configs", "vd4rl"]) == config.from_presets("vd4rl")
    one = config.load(["--configs", "size25m", "debug"])
    two = config.load(["--configs", "debug", "--configs=size25m"])
    assert (one.latent.deter, two.latent.deter) == (16, 3072)
    assert two.latent.updates == one.latent.updates == 20


def test_flags_go_over_presets_wherever_they_stand():
    line = "--leq.tau 0.3 --configs debug --latent.mults 2 2 2 2 2 --seed=7"
    run = config.load([*line.split(), "--data.skip_bad", "--leq.no-return-norm"])
    assert run.latent.mults == (2, 2, 2, 2, 2)
    assert run.data.skip_bad and not run.leq.return_norm
    debug = config.from_presets("debug")
    assert config.difference(run, debug) == [
        "seed",
        "data.skip_bad",
        "latent.mults",
        "leq.tau",
        "leq.return_norm",
    ]
    assert (run.seed, run.leq.tau) == (7, 0.3)


def test_dashes_and_the_short_name_of_the_data():
    assert config.load(["--data", "x"]).data.path == "x"
    assert config.load(["--data.path", "x"]).data.path == "x"
    assert config.load(["--leq.data-tau", "0.3"]).leq.data_tau == 0.3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--leq.tua 0.3", "unknown flag --leq.tua; did you mean --leq.tau?"),
        ("--tau=0.3", "unknown flag --tau=0.3; did you mean --leq.tau?"),
        ("--latent.optimiser.agc 1", "did you mean --latent.optimizer.agc?"),
        ("--config debug", "unknown flag --config; did you mean --configs?"),
        ("--zzz 1", "unknown flag --zzz; see --help"),
        ("--leq.tau low", "leq.tau: expected a number, or several, got 'low'"),
        ("--leq.tau", "leq.tau: has to be one or more different numbers, each"),
        ("--leq.lam", "--leq.lam: expected a number, got nothing"),
        ("--leq.gamma 0.9 1", "unexpected word '1' after --leq.gamma"),
        ("--leq.tau 0.1 0.1", "leq.tau: has to be one or more different numbers"),
        ("--latent.mults 1 x", "latent.mults: expected a list of whole numbers"),
        ("--data.skip_bad=False", "takes no value; it is off with --data.no_skip_bad"),
        ("--seed 1.5", "seed: expected a whole number, got '1.5'"),
        ("--data --seed 1", "--data: expected text, got nothing"),
        (
            "--actor.update dgp",
            "expected dpg or reinforce or q or awr, got 'dgp'; did you mean dpg?",
        ),
        ("--data.skip_bad False", "takes no value; it is off with --data.no_skip_bad"),
        ("debug", "unexpected word 'debug'; see --help"),
        (
            "--configs vd4lr",
            "unknown preset 'vd4lr'; did you mean vd4rl? (known: vd4rl,",
        ),
        ("--configs", "--configs needs a name: vd4rl, "),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(capfd, line, said):
    assert said in refusal(config.load, line.split())
    assert capfd.readouterr() == ("", "")  # the caller prints


def test_help_explains_every_key_with_its_default(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # one column of boxes
    with pytest.raises(SystemExit) as stop:
        config.load(["--help"])
    assert stop.value.code == 0
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    book = files.open_book(config.CONFIGS)
    for key, default in DEFAULTS.items():
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        about = f"{book.comments[key]} (default: {shown if shown != '' else 'empty'}"
        assert book.comments[key]
        assert re.search(rf"--{re.escape(key)}[ ,].{{0,300}}{re.escape(about)}", text)
    names = "|".join(learners.sections())
    assert f"--algorithm{names}" in text.replace(" ", "")
    for name in PRESETS:
        assert f"{name} {book.about[name]}" in re.sub(" +", " ", text)
    assert "(default: 0.0; demo: 0.3)" in text  # what the embedded preset changes


def test_help_is_about_the_presets_that_were_named(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # one column of boxes
    with pytest.raises(SystemExit):
        config.load(["--configs", "vd4rl", "size25m", "--help"])
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert "(default: 2048; vd4rl size25m: 3072)" in text
    assert "demo:" not in text


# --- values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [key for key, kind in KEYS.items() if kind in (int, float)]
)
def test_every_number_has_a_range(key):
    bad = math.nan if KEYS[key] is float else -1
    message = refusal(config.from_presets, "debug", **{key: bad})
    assert message.startswith(f"{key}: has to be ")


STATES = {"task": "hopper-medium", "world_model": "mlp_ensemble"}


@pytest.mark.parametrize("preset", ["hopper", "demo", "d4rl_rssm", "small_frames"])
@pytest.mark.parametrize("algorithm", learners.sections())
def test_a_world_model_that_is_wrong_is_answered_with_flags_that_work(
    preset, algorithm
):
    try:
        config.from_presets(preset, "debug", algorithm=algorithm)
    except UserError as error:
        told = str(error)
        if flag := re.search(r"--(critic.output) (scalar)$", told):
            keys = {"algorithm": algorithm, flag[1]: flag[2]}
            config.from_presets(preset, "debug", **keys)
            return
        found = re.findall(r"--world_model (\w+)", told)
        assert bool(found) != told.startswith(f"algorithm: {algorithm} reads ")
        for name in found:
            keys = {"algorithm": algorithm, "world_model": name}
            config.from_presets(preset, "debug", **keys)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"latent.deter": 100},
            "latent.deter: 100 is not a multiple of latent.blocks, 8",
        ),
        ({"latent.depth": 5}, "20 is not a multiple of latent.blocks, 8"),
        (
            {"data.image_size": 84},
            "images of 84, only of 4, 8, 16, … pixels: --data",
        ),
        ({"data.image_size": 128}, "images of 64; --latent.mults 1 2 3 4 4 4 fits"),
        (
            {"latent.image": "patch", "latent.mults": (2, 4), "data.image_size": 84},
            "--data.image_size 64 resizes them",
        ),
        (
            {"latent.image": "patch"},
            "latent.mults need at least 128; --latent.mults 1 2 3 4 fits",
        ),
        ({"latent.bins": 254}, "latent.bins: has to be odd"),
        ({"latent.mults": []}, "latent.mults: has to be one or more numbers"),
        ({"actor.min_std": 2.0}, "actor.min_std: 2.0 is above actor.max_std, 1.0"),
        (
            {"algorithm": "rambo", **STATES, "actor.network": "dreamer"},
            "actor.network: rambo goes on from a cloned policy, give mlp",
        ),
        *(
            (
                {"algorithm": name, "critic.output": "two_hot", **STATES}
                | {"actor.network": "mlp"},
                f"{name} moves Q by its mean: give --critic.output scalar",
            )
            for name in ("combo", "cbop")
        ),
        *(
            (
                {"algorithm": name, "critic.output": "two_hot"},
                f"{name} moves Q by its mean: give --critic.output scalar",
            )
            for name in ("cql", "edac")
        ),
        ({"video.context": 50}, "video.context: 50 fills video.length, 50"),
        (
            {"latent.updates": 9},
            "latent.optimizer.warmup: has to be below latent.updates",
        ),
        ({"task": "walker walk"}, "task: has to be a task such as walker_walk-medium"),
        ({"task": "walker_walk"}, "task: there is no environment 'walker_walk' here"),
        (
            {"task": "cube-single-play-singletask-task9-v0"},
            "mean cube-single-play-singletask-v0 (its tasks are 1 to 5)? Or give",
        ),
        ({"task": "hopper-best"}, "(or give a task such as walker_walk-medium_expert"),
        (
            {"world_model": "mlp_ensemble"},
            "world_model: mlp_ensemble reads state vectors, walker_walk-medium_expert",
        ),
        ({"ensemble.elites": 8}, "ensemble.elites: 8 of ensemble.members, 7"),
        (
            {"actor.update": "awr", "actor.stochastic": True},
            "actor.stochastic: not with actor.update awr",
        ),
        ({"leq.tau": "0.1"}, "leq.tau: expected a number, or several, got '0.1'"),
    ],
)
def test_values_that_can_not_be(changes, said):
    assert said in refusal(config.from_presets, **changes)


def test_warmup_is_free_where_it_does_no_harm():
    none = config.from_presets(**{"leq.updates": 0})
    assert none.leq.actor_optimizer.warmup == 1000
    names = ("actor_optimizer", "critic_optimizer")
    constant = {f"leq.{name}.schedule": "constant" for name in names}
    assert config.from_presets(**constant, **{"leq.updates": 9}).leq.updates == 9
    for name in names:  # the other one's would be endless
        changes = {"leq.updates": 9, f"leq.{name}.schedule": "constant"}
        (other,) = set(names) - {name}
        said = f"leq.{other}.warmup: has to be below leq.updates, 9; got 1000"
        assert said in refusal(config.from_presets, **changes)


def test_names_that_follow_from_the_task():
    run = config.from_presets(**{"task": "cheetah_run-medium_replay", "seed": 3})
    assert run.about.environment == {"suite": "dm_control", "task": "cheetah_run"}
    assert run.about.level == "medium_replay"
    assert run.folder == Path("runs/cheetah_run-medium_replay/seed3")
    assert config.from_presets(logdir="here").folder == Path("here")


def test_a_configuration_is_hashable_and_frozen():
    run = config.from_presets()
    assert hash(run) == hash(config.from_presets())
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.seed = 1


# --- files of a run ------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_saved_and_read_again_it_is_the_same(tmp_path, name):
    odd = {"logdir": "a: b # c", "leq.beta": 1 / 3, "leq.actor_optimizer.eps": 1.7e-19}
    run = config.from_presets(*presets_with(name), **odd)
    config.save(run, tmp_path / "config.yaml")
    again = config.read(tmp_path / "config.yaml")
    assert not config.difference(again, run)
    assert again.own == run.own and again.phases == run.phases
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    config.save(config.from_presets("demo"), path)

    def half(self, tree, file):
        file.write("task: x")
        raise OSError("disk full")

    monkeypatch.setattr(YAML, "dump", half)
    with pytest.raises(OSError, match="disk full"):
        config.save(config.from_presets("debug"), path)
    assert not config.difference(config.read(path), config.from_presets("demo"))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 0\n", "", "missing key seed"),
        ("seed: 0", "sed: 0\nseed: 0", "unknown key sed; did you mean seed?"),
        ("lam: 0.95", "lam: [0.95]", "leq.lam: expected a number, got [0.95]"),
        ("lam: 0.95", "lam: 1.5", "leq.lam: has to be from 0 to 1, or inf, got 1.5"),
    ],
)
def test_a_damaged_run_file_is_refused(tmp_path, old, new, said):
    path = tmp_path / "config.yaml"
    config.save(config.from_presets(), path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert refusal(config.read, path) == f"{path}: {said}"


def test_a_run_of_an_earlier_version_can_be_read():
    """Keys that are newer than this file need a value in `_YOUNGER`, which says what
    earlier runs did.
    """
    run = config.read(Path(__file__).with_name("run_before_encoding.yaml"))
    assert (run.encoding.samples, run.encoding.act_on, run.bc.best) == (1, "sample", 1)
    assert (run.task, run.latent.updates) == ("walker_walk-medium_expert", 10_000)


def test_a_run_file_that_is_no_yaml_mapping(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("hello")
    assert "expected keys with values" in refusal(config.read, path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not a text" in refusal(config.read, path)


def _aliases(link):
    """Nine aliases of nine aliases of ..., which stand for 9**12 values."""
    lines = ["a0: &a0 {x0: 1}"]
    for i in range(1, 13):
        names = ", ".join([f"*a{i - 1}"] * 9)
        lines.append(f"a{i}: &a{i} {link.format(f'[{names}]')}")
    return "\n".join([*lines, "task: *a12", ""])


@pytest.mark.parametrize(
    "text",
    [
        _aliases("{}"),
        _aliases("{{<<: {}}}"),
        "[" * 100_000,
        "a: " + "[" * 60 + "]" * 60,
        "seed: !!int x",
        "seed: 2001-99-99",
        "seed: " + "9" * 5000,
        "seed: !!set [1, 2]",
    ],
)
def test_yaml_that_would_do_harm_is_refused(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    said = refusal(config.read, path)
    assert said.startswith(f"{path}: not valid YAML") and len(said) < 500


def test_no_code_is_run_from_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text("task: !!python/object/apply:os.mkdir [sprung]\n")
    refusal(config.read, path)
    assert not (tmp_path / "sprung").exists()


def test_a_pipe_for_a_run_file_is_not_waited_for(tmp_path):
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    assert refusal(config.read, path) == f"{path}: is not a file: remove it"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latent.units", 2**31),
        ("latent.updates", 10**30),
        ("latent.prior_layers", 101),
        ("data.image_size", 1 << 20),
        ("eval.episodes", 10**6),
        ("seeds", 10**9),
        ("logdir", "a\nb"),
        ("logdir", "x" * 300),
        ("data.path", "a\0b"),
    ],
)
def test_what_no_machine_can_do_is_refused(key, value):
    said = refusal(config.from_presets, "debug", **{key: value})
    assert said.startswith(f"{key}: has to be ") and len(said) < 200


def test_a_number_too_large_for_a_float_is_refused():
    said = refusal(config.from_presets, **{"leq.tau": 10**400})
    assert said.startswith("leq.tau: expected a number")


# --- grids


def test_members_of_a_grid_are_runs_of_their_own():
    grid = config.from_presets(
        "debug", logdir="g", seed=3, seeds=2, **{"leq.tau": [0.5, 0.1]}
    )
    members = grid.members
    names = ["tau0.5-seed3", "tau0.5-seed4", "tau0.1-seed3", "tau0.1-seed4"]
    assert list(members) == names
    last = members["tau0.1-seed4"]
    assert (last.seed, last.seeds, last.leq.tau) == (4, 1, 0.1)
    assert (str(last.folder), last.pretrained) == ("g/tau0.1-seed4", "g")
    differing = ["logdir", "seed", "seeds", "pretrained", "leq.tau"]
    assert config.difference(grid, last) == differing
    assert not last.members


def test_one_expectile_and_seed_are_no_grid():
    run = config.from_presets("debug", **{"leq.tau": 0.3})
    assert run.leq.tau == 0.3 and run.members == {}


# --- meshes


def test_a_mesh_has_axes():
    assert config.from_presets().mesh_axes == {}
    assert config.from_presets(mesh="data=8").mesh_axes == {"data": 8}


@pytest.mark.parametrize(
    "text", ["8", "data", "data=", "data=0", "data=x", "model=2", "data=2,data=2"]
)
def test_a_mesh_that_is_none_is_refused(text):
    said = refusal(config.from_presets, mesh=text)
    assert said.startswith("mesh: has to be empty") and said.endswith(f"got {text!r}")


@pytest.mark.parametrize(
    ("presets", "key"),
    [
        (["vd4rl"], "latent.batch"),
        (["d4rl_mujoco"], "ensemble.batch"),
        (["d4rl_mujoco"], "bc.batch"),
        (["d4rl_mujoco"], "fqe.batch"),
        (["vd4rl"], "leq.batch"),
    ],
)
def test_a_mesh_divides_every_batch(presets, key):
    config.from_presets(*presets, mesh="data=8", **{key: 24})
    said = refusal(config.from_presets, *presets, mesh="data=8", **{key: 20})
    assert said == f"{key}: 20 can't be divided over mesh data=8"


def test_a_mesh_leaves_batches_alone_that_are_not_drawn():
    config.from_presets(mesh="data=8", **{"bc.batch": 20, "ensemble.batch": 20})


def test_a_grid_is_trained_without_a_mesh():
    said = refusal(config.from_presets, mesh="data=8", seeds=2)
    assert said.startswith("mesh: ")


@pytest.mark.parametrize("kind", ["conv", "patch"])
@pytest.mark.parametrize("size", [16, 84, 100])
def test_advice_on_image_sizes_works(kind, size):
    """Following it, at most twice, gives a configuration."""
    keys = {"latent.image": kind, "data.image_size": size}
    for _ in range(2):
        message = refusal(config.from_presets, **keys)
        flag = re.search(r"--(\S+) ([0-9 ]+)", message)
        keys[flag[1]] = [int(word) for word in flag[2].split()]
        if flag[1] == "data.image_size":
            keys[flag[1]] = keys[flag[1]][0]
        with contextlib.suppress(UserError):
            config.from_presets(**keys)
            return
    raise AssertionError(keys)


# --- tasks of the user's own


OWN = {"env": "garden.line:make"}


def test_an_own_task_is_called_as_its_environment_or_as_one_likes():
    run = config.from_presets("hopper", **OWN)
    assert run.task == "line-make" and run.folder.as_posix() == "runs/line-make/seed0"
    assert (run.about.suite, run.about.rule, run.about.pixels) == (
        "own",
        "learned",
        False,
    )
    named = config.from_presets("hopper", **OWN, task="hopper-mine")
    assert named.task == "hopper-mine" and named.about.suite == "own"
    words = ["--configs", "hopper", "--env=garden.line:make", "--task", "hopper-mine"]
    assert config.load(words) == named
    assert config.load(config.command(named)[2:]) == named


@pytest.mark.parametrize(
    ("presets", "keys", "pixels"),
    [
        (("vd4rl",), {}, True),
        (("d4rl_rssm",), {}, False),
        (("vd4rl",), {"data.observations": "vector"}, False),
        (("vd4rl", "drq_bc"), {}, True),
        (("maze", "td3_bc"), {}, False),
    ],
)
def test_what_an_own_task_shows_follows_from_its_world_model(presets, keys, pixels):
    assert config.from_presets(*presets, **OWN, **keys).about.pixels == pixels


def test_rewards_of_an_own_task_stay_as_they_are_unless_one_says_so():
    assert config.from_presets("maze", "td3_bc").own.rewards == (1.0, -1.0)
    assert config.from_presets("maze", "td3_bc", **OWN).own.rewards == (1.0, 0.0)
    flags = ["--configs", "maze", "td3_bc", "--env", "line", "--td3-bc.reward-bias=-2"]
    assert config.load(flags).own.rewards == (1.0, -2.0)


def test_an_own_task_has_an_environment_or_no_scores():
    plain = {"task": "arm", "world_model": "vectors", "algorithm": "bc"}
    said = refusal(config.from_presets, **plain)
    assert "--env MODULE:FUNCTION" in said and "--eval.episodes 0" in said
    assert config.from_presets(**plain, **{"eval.episodes": 0}).about.suite == "own"


@pytest.mark.parametrize("env", ["a b", "a:", ":b", "a/b:c", "a:b:c", "../a:b"])
def test_what_no_environment_can_be_called(env):
    assert "env: has to be MODULE:FUNCTION" in refusal(config.from_presets, env=env)


def test_runs_of_other_tasks_go_on_that_do_not_have_the_key_yet(tmp_path):
    run = config.from_presets("d4rl_rssm")
    config.save(run, tmp_path / "config.yaml")
    lines = (tmp_path / "config.yaml").read_text().splitlines(keepends=True)
    old = [line for line in lines if "observations:" not in line and "env:" not in line]
    assert len(old) == len(lines) - 2
    (tmp_path / "config.yaml").write_text("".join(old))
    assert config.difference(config.read(tmp_path / "config.yaml"), run) == []
