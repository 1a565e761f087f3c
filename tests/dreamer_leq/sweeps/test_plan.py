"""From a sweep's file to its jobs, and what is refused before anything starts."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dreamer_leq import config as configs
from dreamer_leq.cli import main
from dreamer_leq.sweeps.file import read
from dreamer_leq.sweeps.plan import plan
from dreamer_leq.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
TABLE = """\
name: table
configs: [maze, debug]
tasks:
  pointmaze-umaze: data/umaze.hdf5
  pointmaze-medium: {data: data/medium.hdf5, leq.tau: [0.3, 0.5, 0.7]}
algorithms:
  leq: {leq: {tau: [0.1, 0.3]}}
  short: {algorithm: leq, leq.horizon: [2, 4]}
  iql: {configs: iql}
seeds: 3
"""


@pytest.fixture
def jobs_of(tmp_path, monkeypatch):
    """The jobs of a file's text by their names."""
    monkeypatch.chdir(tmp_path)

    def jobs_of(text):
        (tmp_path / "sweep.yaml").write_text(text)
        return {job.name: job for job in plan(read("sweep.yaml"))}

    return jobs_of


def test_what_can_be_trained_in_one_program_is_one_job(jobs_of):
    jobs = jobs_of(TABLE)
    assert list(jobs)[:5] == [
        "pointmaze-umaze/world_model",
        "pointmaze-umaze/leq/grid",
        "pointmaze-umaze/short-horizon2/grid",
        "pointmaze-umaze/short-horizon4/grid",
        "pointmaze-umaze/iql/grid",
    ]
    grid = jobs["pointmaze-umaze/leq/grid"]
    assert grid.config.leq.tau == (0.1, 0.3) and grid.config.seeds == 3
    assert next(iter(grid.runs)).endswith("grid/tau0.1-seed0") and len(grid.runs) == 6


def test_an_algorithms_values_win_over_a_tasks_and_axes_over_nothing(jobs_of):
    jobs = jobs_of(TABLE)
    assert jobs["pointmaze-medium/leq/grid"].config.leq.tau == (0.1, 0.3)
    short = jobs["pointmaze-medium/short-horizon2/grid"].config
    assert short.leq.tau == (0.3, 0.5, 0.7) and short.leq.horizon == 2


def test_a_command_is_that_of_its_configuration(jobs_of):
    job = jobs_of(TABLE)["pointmaze-medium/leq/grid"]
    assert job.words[0] == "train"
    assert configs.load(job.words[1:]) == job.config


def test_who_imagines_waits_for_the_tasks_world_model(jobs_of):
    jobs = jobs_of(TABLE)
    world = jobs["pointmaze-medium/world_model"]
    assert not world.config.learns_policy and world.config.seeds == 1
    waiting = {name for name, job in jobs.items() if job.after == (world.name,)}
    assert {name.split("/")[1] for name in waiting} == {
        *("leq", "short-horizon2", "short-horizon4"),
    }
    for name in waiting:
        assert jobs[name].config.pretrained == str(world.folder)
    assert jobs["pointmaze-medium/iql/grid"].after == ()


def test_another_world_model_is_a_prerequisite_of_its_own(jobs_of):
    text = TABLE.replace("leq: {leq: {", "leq: {ensemble.members: [3, 5], leq: {")
    text = text.replace("short: {", "short: {ensemble.members: 3, ")
    jobs = jobs_of(text)
    # that of five members is needed once
    (name,) = [n for n in jobs if n.startswith("pointmaze-umaze/world_model")]
    assert name == "pointmaze-umaze/world_model-members3"
    assert jobs["pointmaze-umaze/leq-members3/grid"].after == (name,)
    assert jobs["pointmaze-umaze/leq-members5/grid"].after == ()


def test_other_data_make_another_world_model(jobs_of):
    text = TABLE.replace("leq: {leq: {", "leq: {collect.steps: [50, 60], leq: {")
    jobs = jobs_of(text.replace("short: {", "short: {collect.steps: [50, 60], "))
    worlds = [n for n in jobs if n.startswith("pointmaze-umaze/world_model")]
    name = "pointmaze-umaze/world_model-steps"
    assert worlds == [f"{name}50", f"{name}60"]


def test_a_sweep_that_grows_keeps_its_folders(jobs_of):
    before = jobs_of(TABLE)
    more = TABLE.replace("seeds: 3", "seeds: 5").replace("[0.1, 0.3]", "[0.3, 0.4]")
    after = jobs_of(more.replace("  leq: {", "  bc:\n  leq: {"))
    assert before.keys() < after.keys()
    worlds = [name for name in before if name.endswith("world_model")]
    assert [before[n].words for n in worlds] == [after[n].words for n in worlds]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (
            "together: false",
            ["leq/tau0.1-seed4", "leq/tau0.1-seed5", "leq/tau0.1-seed7"],
        ),
        (
            "world_models: per_seed",
            ["leq/grid-seed4", "leq/grid-seed5", "leq/grid-seed7"],
        ),
        ("world_models: own", ["leq/grid", "leq/grid-seed7"]),
    ],
)
def test_how_seeds_are_divided(line, names, jobs_of):
    jobs = jobs_of(TABLE.replace("seeds: 3", f"seeds: [4, 5, 7]\n{line}"))
    found = [n.partition("/")[2] for n in jobs if n.startswith("pointmaze-umaze/leq/")]
    assert found[: len(names)] == names
    if line.endswith("per_seed"):
        assert jobs["pointmaze-umaze/leq/grid-seed5"].after == (
            "pointmaze-umaze/world_model-seed5",
        )
        assert "pointmaze-umaze/iql/grid" in jobs  # which needs none


def test_estimates_wait_for_what_they_estimate(jobs_of):
    jobs = jobs_of(TABLE + "choose: offline\n")
    job = jobs["pointmaze-umaze/leq/grid:estimate"]
    assert job.after == ("pointmaze-umaze/leq/grid",)
    assert job.words[:3] == ("eval", "--logdir", "runs/table/pointmaze-umaze/leq/grid")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: 3", "sedes: 3", "line 10: sedes: unknown key; did you mean seeds?"),
        ("seeds: 3", "seeds: [1, 1]", "line 10: seeds: has to be how many"),
        ("leq.horizon", "leq.horizn", "line 8: leq.horizn: unknown key; did you mean"),
        ("[2, 4]", "[2, low]", "line 8: leq.horizon: expected a whole number, got"),
        (
            "[2, 4]",
            "[2, 0]",
            "line 8: pointmaze-umaze/short-horizon0/grid: leq.horizon",
        ),
        ("[2, 4]", "[2, 2]", "line 8: leq.horizon: needs values that are different"),
        (
            "  iql: {",
            "  iqll: {seed: 1, ",
            "line 9: seed: the sweep gives this to each",
        ),
        (
            "  iql: {configs: iql}",
            "  iqll:",
            "iqll: is no algorithm; did you mean iql?",
        ),
        ("configs: iql", "configs: iqll", "line 9: configs: unknown preset iqll; did"),
        (
            "  pointmaze-umaze:",
            "  pointmaze:",
            "line 4: pointmaze: tasks: is not a task",
        ),
        ("name: table", "name: a/b", "line 1: name: has to be a word"),
        ("name: table\n", "", "sweep.yaml: name is missing"),
        ("name: table", "name: [", "not valid YAML: line"),
        (
            "seeds: 3",
            "choose: onlin",
            "line 10: choose: has to be online or offline, got",
        ),
    ],
)
def test_what_is_wrong_is_one_line(old, new, said, jobs_of, capsys):
    assert old in TABLE
    with pytest.raises(UserError) as refused:
        jobs_of(TABLE.replace(old, new, 1))
    assert said in str(refused.value) and "\n" not in str(refused.value)
    assert main(["sweep", "sweep.yaml", "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: sweep.yaml")


def test_a_dry_run_starts_nothing(jobs_of, tmp_path, capsys):
    jobs_of(TABLE)
    assert main(["sweep", "sweep.yaml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "waits for pointmaze-umaze/world_model" in said
    assert re.search(r"10 jobs, 42 runs, 0 jobs done; in runs/table", said)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def jobs_of_first_task(file):
    """The others take long."""
    told = read(file)
    return plan(replace(told, tasks=dict([next(iter(told.tasks.items()))])))


def test_the_sweeps_that_are_shipped_can_be_planned():
    files = sorted((ROOT / "benchmarks/sweeps").glob("*.yaml"))
    assert len(files) >= 10
    for file in files:
        assert jobs_of_first_task(file) and read(file).name == file.stem


@pytest.mark.parametrize("name", ["states_cpu", "pixels_cpu", "ogbench_cpu"])
def test_every_row_of_a_table_for_cpus_is_small(name):
    """A preset that names a section anew would lose what the section had."""
    for job in jobs_of_first_task(ROOT / f"benchmarks/sweeps/{name}.yaml"):
        own = job.config.own
        assert own.updates <= 20_000 and own.batch <= 1024, job.name
        if rollouts := getattr(own, "rollouts", None):
            assert rollouts.starts <= 3200, job.name


def test_encoders_of_ones_own_have_the_networks_of_their_presets():
    jobs = jobs_of_first_task(ROOT / "benchmarks/sweeps/pixels_cpu.yaml")
    frames = [job.config for job in jobs if job.config.world_model == "frames"]
    assert len(frames) == 7
    for c in frames:
        name = c.algorithm
        layers = 3 if name == "rebrac" else 2
        assert (c.actor.layers, c.critic.layers) == (layers, layers), name
        assert c.critic.layer_norm == (name == "rebrac"), name


def test_a_task_of_ones_own_has_an_environment(jobs_of):
    own = '  swing: {env: "garden.line:make", data: swing.hdf5}\n'
    table = TABLE.replace("tasks:\n", f"tasks:\n{own}", 1)
    configs = [job.config for job in jobs_of(table).values()]
    swings = [c for c in configs if c.task == "swing"]
    assert swings and {c.env for c in swings} == {"garden.line:make"}
    assert {c.env for c in configs if c.task != "swing"} == {""}
