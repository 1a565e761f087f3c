"""What every name of a task means, against the tables of the benchmarks."""

import itertools

import pytest

from dreamer_leq.config import tasks

D4RL = {
    "hopper": ("Hopper-v4", -20.272305, 3234.3),
    "walker2d": ("Walker2d-v4", 1.629008, 4592.3),
    "halfcheetah": ("HalfCheetah-v4", -280.178953, 12135.0),
}
NEORL = {
    "HalfCheetah": ("HalfCheetah-v4", "never", -298, 12284),
    "Hopper": ("Hopper-v4", "hopper_x", 5, 3294),
    "Walker2d": ("Walker2d-v4", "walker2d_x", 1, 5143),
}
CENTRES = {
    "umaze": (0.75, 8.75),
    "medium": (20.75, 20.75),
    "large": (32.75, 24.75),
    "ultra": (52.75, 36.75),
}
CELLS = {"umaze": (0, 8), "medium": (20, 20), "large": (32, 24), "ultra": (52, 36)}
ANTMAZES = [
    "umaze",
    "umaze-diverse",
    *map("-".join, itertools.product(CENTRES.keys() - {"umaze"}, ("play", "diverse"))),
]


@pytest.mark.parametrize("version", ["", "-v2"])
@pytest.mark.parametrize(
    "level", ["random", "medium", "medium-replay", "medium-expert"]
)
@pytest.mark.parametrize("name", D4RL)
def test_d4rl(name, level, version):
    task = tasks.parse(f"{name}-{level}{version}")
    make, low, high = D4RL[name]
    assert (task.suite, task.level, task.rule) == ("d4rl", level, name)
    assert task.environment == {"suite": "gymnasium", "id": make}
    assert task.reference == (low, high)
    assert task.reward == ("none" if level == "random" else "return_range")
    assert (task.unit, task.pixels, task.goal) == ("return", False, None)


@pytest.mark.parametrize("version", ["", "-v3"])
@pytest.mark.parametrize("level", ["low", "medium", "high"])
@pytest.mark.parametrize("name", NEORL)
def test_neorl(name, level, version):
    task = tasks.parse(f"{name}{version}-{level}")
    make, rule, low, high = NEORL[name]
    assert (task.suite, task.level, task.rule) == ("neorl", level, rule)
    about = {"suite": "gymnasium", "id": make, "x_position": True}
    assert task.environment == about
    assert (task.reference, task.reward) == ((low, high), "return_range")
    assert (task.unit, task.pixels) == ("return", False)


@pytest.mark.parametrize("version", ["", "-v0", "-v2"])
@pytest.mark.parametrize("name", sorted(ANTMAZES))
def test_antmaze(name, version):
    task = tasks.parse(f"antmaze-{name}{version}")
    maze, _, level = name.partition("-")
    assert (task.suite, task.level, task.rule) == ("antmaze", level, "goal")
    assert task.environment == {"suite": "antmaze", "maze": maze}
    assert task.goal == CENTRES[maze] and task.radius is None
    assert (task.reference, task.reward) == ((0, 1), "minus_one")
    assert (task.unit, task.pixels) == ("success", False)


@pytest.mark.parametrize("maze", CELLS)
def test_pointmaze(maze):
    task = tasks.parse(f"pointmaze-{maze}")
    assert (task.suite, task.rule) == ("pointmaze", "goal")
    assert task.environment == {"suite": "pointmaze", "maze": maze}
    assert (task.goal, task.radius) == (CELLS[maze], 0.5)
    assert (task.reference, task.reward) == ((0, 1), "minus_one")
    assert (task.unit, task.pixels) == ("success", False)


@pytest.mark.parametrize(
    "name, number, sizes",
    [
        ("cube-single-play-singletask-task1-v0", 1, (28, 5)),
        ("cube-double-noisy-singletask-v0", 2, (37, 5)),
        ("antmaze-large-navigate-singletask", 1, (29, 8)),
        ("puzzle-4x6-play-singletask-v0", 2, (115, 5)),
    ],
)
def test_ogbench(name, number, sizes):
    task = tasks.parse(name)
    family = "-".join(name.split("-singletask")[0].split("-")[:-1])
    environment = f"{family}-singletask-task{number}-v0"
    assert task.environment == {"suite": "ogbench", "task": environment}
    assert (task.suite, task.rule, task.sizes) == ("ogbench", "learned", sizes)
    assert (task.reference, task.reward, task.goal) == ((0, 1), "none", None)
    assert (task.unit, task.pixels) == ("success", False)


@pytest.mark.parametrize(
    "name, environment, level",
    [
        ("walker_walk-medium_expert", "walker_walk", "medium_expert"),
        ("cheetah_run-random", "cheetah_run", "random"),
        ("humanoid_walk-medium_replay", "humanoid_walk", "medium_replay"),
    ],
)
def test_dm_control(name, environment, level):
    task = tasks.parse(name)
    assert (task.suite, task.level) == ("dm_control", level)
    assert task.environment == {"suite": "dm_control", "task": environment}
    assert task.pixels and task.unit == "return"
    assert (task.reference, task.reward) == ((0, 1000), "none")


def test_both_published_radii_have_a_name():
    assert tasks.REGIONS == {"leq": 0.25, "cbop": 0.5}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "hopper",
        "hopper-",
        "hopper-low",
        "Hopper-random",
        "hopper-medium-v0",
        "hopper-medium-v2-v2",
        "hopper-v2-medium",
        "ant-medium",
        "Hopper-v2-low",
        "Hopper-low-v3",
        "Hopper-v3",
        "antmaze",
        "antmaze-umaze-play",
        "antmaze-medium",
        "antmaze-medium-v2",
        "antmaze-large-v0",
        "antmaze-large-",
        "antmaze-medium-replay-v2",
        "antmaze-giant-play",
        "antmaze-large-diverse-v1",
        "pointmaze",
        "pointmaze-giant",
        "pointmaze-large-v2",
        "walker_walk",
        "robot_arm-mine",
        "cube-single-play-v0",
        "cube-single-singletask-task1-v0",
        "cube-single-play-singletask-task6-v0",
        " hopper-medium",
        "hopper-medium\n",
    ],
)
def test_other_names_are_refused(name):
    assert not tasks.is_task(name)
    with pytest.raises(ValueError):
        tasks.parse(name)


def test_what_is_a_task_can_be_parsed():
    for name in ("hopper-medium", "antmaze-umaze", "Hopper-low", "pointmaze-large"):
        assert tasks.is_task(name)
        hash(tasks.parse(name).reference)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pointmaze-medium-navigate-v0", "pointmaze-medium-navigate-singletask-v0"),
        ("pointmaze-mediun-navigate-singletask-task2-v0", None),
        ("visual-cube-single-play-singletask-task9-v0", None),
        ("hopper-medum-replay", "hopper-medium-replay"),
        ("antmaze-medium", "antmaze-medium-play"),
        ("Hoper-low", "Hopper-low"),
        ("walkr_walk-medium", "walker_walk-medium"),
        ("franka_kitchen-mine", ""),
        ("my_arm", ""),
        ("myenv-box", ""),
        ("hopper", ""),
    ],
)
def test_a_name_with_a_slip_is_answered_with_the_one_that_is_meant(name, meant):
    if meant is None:
        meant = name.replace("mediun", "medium").replace("-task9", "")
    assert tasks.likely(name) == (meant or None)
    assert not meant or tasks.is_task(meant)
