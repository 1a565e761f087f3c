"""OGBench's files of images: all episodes in one `.npz`, in departure order.

Row i holds image i, the action that is taken there, and the simulator's state at the
same time. Rewards are the tasks': entry t gets that of the state it shows, which is the
one that the action before led to. (The package counts it for the action that is taken
there since 1.2.0, one entry later: an RSSM predicts rewards from what it sees.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vd4rl_loader.files import foreign, validation
from vd4rl_loader.files.episode import Episode
from vd4rl_loader.files.untrusted import NpzFile, refuse_size
from vd4rl_loader.files.validation import BadFileError, Expected, Field, Findings
from vd4rl_loader.ogbench_tasks import TASKS, SingleTask, task_of_file

_IMAGES = {"observations": Field("uint8", ("N", "H", "W", "3"))}
_NUMBERS = {
    "actions": Field("a float type", ("N", "A")),
    "terminals": Field("bool", ("N",)),
    "qpos": Field("a float type", ("N", "P")),
}
_BUTTONS = {"button_states": Field("a number type", ("N", "B"))}


def peek(path: Path) -> tuple[int, int] | None:
    """Image height and action size from the headers alone; None if unreadable."""
    try:
        with NpzFile.opened(path) as file:
            stored = file.declared(("observations", "actions"))
        return stored["observations"].shape[1], stored["actions"].shape[1]
    except (BadFileError, KeyError, IndexError):
        return None


def read(
    files: list[Path], expected: Expected, findings: Findings
) -> Iterator[Episode]:
    """Yields the episodes of the only file, images as they come out of the archive."""
    path = files[0]
    try:
        yield from _read_file(path, expected, findings)
    except BadFileError as error:
        findings.problems.append((path.name, str(error)))


def _read_file(path: Path, expected: Expected, findings: Findings) -> Iterator[Episode]:
    task = task_of_file(path.name)
    if task is None:
        raise BadFileError("give it the name under which it was published")
    numbers = _NUMBERS | (_BUTTONS if task.buttons else {})
    with NpzFile.opened(path) as file:
        fields = _IMAGES | numbers
        stored = foreign.declared(file, fields)
        validation.refuse(validation.layout_problems(stored, fields))
        _, height, width, _ = stored["observations"].shape
        sizes = (height, width), stored["actions"].shape[1]
        problems = validation.size_problems("observations", *sizes, expected)
        validation.refuse(problems + _other_family(stored, task))
        refuse_size([stored[name] for name in numbers])
        arrays = file.read(numbers)
        action, ends = arrays["actions"], arrays["terminals"].copy()
        validation.refuse(
            validation.value_problems(action, np.zeros(1))
            + validation.finite_problems("qpos", arrays["qpos"])
        )
        if not ends[-1]:
            ends[-1] = True
            findings.notes.append("the last row's end is not marked, taken for one")
        offsets = np.append(0, np.flatnonzero(ends) + 1)
        rewards = _rewards(task, arrays)
        del arrays  # the simulator's states aren't needed any more
        parts = file.pieces("observations", np.diff(offsets).tolist())
        for start, image in zip(offsets.tolist(), parts, strict=False):
            rows = slice(start, start + len(image))
            origin = f"{path.name} row {start:,}"
            if short := validation.length_problems(len(image), expected.min_length):
                findings.problems.append((path.name, f"{short[0]} ({origin})"))
                continue
            yield _episode(image, action[rows], rewards[rows], origin)


def _other_family(stored: dict, task: SingleTask) -> list[str]:
    """Numbers of a simulator that is not the task's."""
    wanted = {"qpos": task.positions, "actions": task.sizes[1]}
    wanted |= {"button_states": task.buttons} if task.buttons else {}
    return [
        f"{name}: {stored[name].shape[1]} numbers per row, {task.family} has {size}"
        for name, size in wanted.items()
        if stored[name].shape[1] != size
    ]


def _rewards(task: SingleTask, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Of every state, for each of the family's tasks: float32 [N, tasks]."""
    states = arrays["qpos"].astype(np.float32, copy=False), arrays.get("button_states")
    tasks = [replace(task, number=i + 1) for i in range(TASKS)]
    return np.stack([each.rewards(*states)[0] for each in tasks], axis=1)


def _episode(
    image: np.ndarray, action: np.ndarray, rewards: np.ndarray, origin: str
) -> Episode:
    """Arrival order: the last row's action leads nowhere and is left out."""
    led = np.concatenate([np.zeros_like(action[:1]), action[:-1]])
    return Episode(
        image=image,
        action=led.astype(np.float32).clip(-1, 1),
        reward=np.zeros(len(image)),
        discount=np.ones(len(image)),
        terminal=False,
        origin=origin,
        task_rewards=rewards,
    )
