"""Facts about dm_control's tasks, known without loading any of them."""

from __future__ import annotations

EPISODE_STEPS = 1000  # control steps of an episode, before action repeat
_TASKS = {  # by domain, and by the numbers of their actions
    ("acrobot", 1): "swingup swingup_sparse",
    ("ball_in_cup", 2): "catch",
    ("cartpole", 1): "balance balance_sparse swingup swingup_sparse two_poles "
    "three_poles",
    ("cheetah", 6): "run",
    ("dog", 38): "stand walk trot run fetch",
    ("finger", 2): "spin turn_easy turn_hard",
    ("fish", 5): "upright swim",
    ("hopper", 4): "stand hop",
    ("humanoid", 21): "stand walk run run_pure_state",
    ("humanoid_CMU", 56): "stand walk run",
    ("lqr", 1): "lqr_2_1",
    ("lqr", 2): "lqr_6_2",
    ("manipulator", 5): "bring_ball bring_peg insert_ball insert_peg",
    ("pendulum", 1): "swingup",
    ("point_mass", 2): "easy hard",
    ("quadruped", 12): "walk run escape fetch",
    ("reacher", 2): "easy hard",
    ("stacker", 5): "stack_2 stack_4",
    ("swimmer", 5): "swimmer6",
    ("swimmer", 14): "swimmer15",
    ("walker", 6): "stand walk run",
}
ACTION_SIZES = {  # task -> numbers of its actions
    f"{domain}_{task}": size
    for (domain, size), tasks in _TASKS.items()
    for task in tasks.split()
}


def known(task: str | None) -> bool:
    """Whether dm_control has the task."""
    return task in ACTION_SIZES


def never_ends(task: str | None) -> bool:
    """Whether it is known that nothing but the clock ends the task's episodes."""
    return known(task) and not task.startswith("lqr_")


def usual_camera(task: str | None) -> int:
    """The camera by which others render a task (DrQ-v2, DreamerV3)."""
    return 2 if known(task) and task.startswith("quadruped_") else 0
