"""Which environment a description, as configs and run folders hold it, stands for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dreamer_leq.envs.antmaze import AntMaze
from dreamer_leq.envs.dmc import DMCFactory
from dreamer_leq.envs.locomotion import Locomotion
from dreamer_leq.envs.ogbench import OGBench
from dreamer_leq.envs.own import own_factory
from dreamer_leq.envs.pointmaze import PointMaze
from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.ogbench_tasks import environments
from vd4rl_loader.simulators.locomotion import TASKS
from vd4rl_loader.simulators.mazes import MAZES
from vd4rl_loader.simulators.render import MAX_SIZE, RenderStyle

# The fields of a description besides "suite": those it must have, those it may have.
_FIELDS = {
    "dm_control": ({"task", "render"}, {"action_repeat", "image_size"}),
    "gymnasium": ({"id"}, {"x_position"}),
    "antmaze": ({"maze"}, set()),
    "pointmaze": ({"maze"}, set()),
    "own": (
        {"make"},
        {
            *("time_limit", "vector_size", "action_size"),
            *("image_size", "source_image_size", "named"),
        },
    ),
    "ogbench": ({"task"}, {"image_size"}),
}
_LARGEST = 1 << 31  # steps of an episode, numbers of a vector


def environment_factory(
    environment: Mapping[str, Any], seed: int, image: bool = False
) -> Callable[[], Any]:
    """The factory that `VectorEnv` makes one environment with, in another process.

    Args:
      environment: "suite" and its fields. One of
        {"suite": "dm_control", "task": "walker_walk", "render": a RenderStyle's JSON,
        "action_repeat": 2, "image_size": 64}, the last two optional;
        {"suite": "gymnasium", "id": "Hopper-v4", "x_position": False}, x optional;
        {"suite": "antmaze", "maze": "large"}; {"suite": "pointmaze", "maze": "medium"};
        {"suite": "own", "make": "module:function"} and, optional, other arguments of
        `own.OwnEnv`; "named" is what a shared run calls its environment;
        {"suite": "ogbench", "task": "cube-single-singletask-task1-v0"}, and of its
        visual ones, optional, "image_size": 64.
      seed: seed of the environment's initial states and goals.
      image: whether state environments are filmed: their observations then hold
        "image", uint8 [192, 192, 3]. dm_control's always do, at the model's size.

    Returns:
      A picklable factory without arguments.

    Raises:
      DataError: a field is missing, unknown or wrong.
    """
    suite = _check(environment)
    fields = {key: value for key, value in environment.items() if key != "suite"}
    if suite == "dm_control":
        render = RenderStyle.from_json(fields.pop("render"))
        return DMCFactory(render=render, seed=seed, **fields)
    if suite == "own":
        return own_factory(fields, seed, image)
    return StateFactory(suite, fields, seed, image)


@dataclass(frozen=True)
class StateFactory:
    """Makes an environment that is observed as a state, in whatever process calls it.

    Attributes:
      suite: "gymnasium", "antmaze", "pointmaze" or "ogbench".
      fields: the description's other fields.
      seed: of the environment.
      image: whether it is filmed.
    """

    suite: str
    fields: Mapping[str, Any]
    seed: int
    image: bool = False

    def __call__(self) -> Locomotion | AntMaze | PointMaze | OGBench:
        """Makes the environment."""
        make = {
            "gymnasium": Locomotion,
            "antmaze": AntMaze,
            "pointmaze": PointMaze,
            "ogbench": OGBench,
        }
        return make[self.suite](seed=self.seed, image=self.image, **self.fields)


def _check(environment: Mapping[str, Any]) -> str:
    suite = environment.get("suite")
    _one_of("suite", suite, _FIELDS)
    required, optional = _FIELDS[suite]
    given = set(environment) - {"suite"}
    if missing := sorted(required - given):
        raise DataError(f"environment: suite {suite} needs the field {missing[0]!r}")
    if unknown := sorted(given - required - optional):
        raise DataError(f"environment: suite {suite} has no field {unknown[0]!r}")
    if "id" in given:
        _one_of("id", environment["id"], TASKS)
    if "maze" in given:
        _one_of("maze", environment["maze"], MAZES)
    sizes = {"image_size": MAX_SIZE, "source_image_size": MAX_SIZE}
    sizes |= {"time_limit": _LARGEST, "vector_size": _LARGEST, "action_size": _LARGEST}
    least = 0 if suite == "own" else 1
    for name, most in {"action_repeat": MAX_SIZE, **sizes}.items():
        value = environment.get(name, 1)
        if type(value) is not int or not least <= value <= most:
            raise DataError(
                f"environment: {name} is {shown(repr(value))}, expected {least} to "
                f"{most}"
            )
    for name in ("task", "make", "named"):
        if not isinstance(environment.get(name, ""), str):
            raise DataError(f"environment: {name} is not a text")
    if suite == "ogbench":
        _one_of("task", environment["task"], environments())
    if not isinstance(x := environment.get("x_position", False), bool):
        raise DataError(f"environment: x_position is {x!r}, expected true or false")
    return suite


def _one_of(field: str, value: Any, known: Collection[str]) -> None:
    if isinstance(value, str) and value in known:
        return
    near = difflib.get_close_matches(str(value)[:100], known, n=1) or known
    names = " or ".join(near)
    said = shown(repr(value))
    raise DataError(f"environment: {field} is {said}: did you mean {names}?")
