"""What the numbers of an action move, in words."""

from collections.abc import Mapping
from typing import Any

from dreamer_leq.envs.maze_model import ant_model
from vd4rl_loader.simulators.locomotion import make_locomotion
from vd4rl_loader.simulators.mazes import find_maze
from vd4rl_loader.simulators.opengl import load_suite
from vd4rl_loader.simulators.simulate import split_task


def joint_names(environment: Mapping[str, Any], action_size: int) -> list[str]:
    """A name for each number of an action, of an environment's description."""
    names = _known(environment)
    if len(names) != action_size:
        return [f"joint {i + 1}" for i in range(action_size)]
    return names


def _known(environment: Mapping[str, Any]) -> list[str]:
    suite = environment.get("suite")
    maze = suite == "ogbench" and environment["task"].startswith("pointmaze")
    if suite == "pointmaze" or maze:
        return ["right", "up"]
    if suite == "ogbench":
        return ["x", "y", "z", "turn", "gripper"]  # of the arm; others have more
    if suite == "dm_control":
        task = split_task(environment["task"])
        return _of_model(load_suite().load(*task).physics.model.ptr)
    if suite == "gymnasium":
        return _of_model(make_locomotion(environment["id"], False).unwrapped.model)
    if suite == "antmaze":
        return _of_model(ant_model(find_maze(environment["maze"])))
    return []


def _of_model(model: Any) -> list[str]:
    """The joints that a MuJoCo model's actuators move; [] where one moves another
    thing.
    """
    import mujoco

    if (model.actuator_trntype != mujoco.mjtTrn.mjTRN_JOINT.value).any():
        return []
    names = [model.joint(row[0]).name for row in model.actuator_trnid]
    words = [name.removesuffix("_joint").replace("_", " ") for name in names]
    return words if all(words) else []
