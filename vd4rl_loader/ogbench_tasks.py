"""OGBench's single tasks: their names, their goals, and rewards of simulator states.

cube-single-play-singletask-task1-v0   task 1 with the data cube-single-play-v0
cube-single-play-singletask-v0         the default task of cube-single

The goals are those of the package ogbench (MIT), which isn't needed here. Files hold no
rewards, but the simulator's states, from which they are computed.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

import numpy as np

_PLAY = ("play", "noisy")
_WALKS = ("navigate", "stitch")
_EXPLORED = (*_WALKS, "explore")

# family -> kinds of its data
FAMILIES: dict[str, tuple[str, ...]] = {
    **{f"pointmaze-{maze}": _WALKS for maze in ("medium", "large", "giant")},
    "pointmaze-teleport": _WALKS,
    **{f"antmaze-{maze}": _EXPLORED for maze in ("medium", "large", "teleport")},
    "antmaze-giant": _WALKS,
    **{f"humanoidmaze-{maze}": _WALKS for maze in ("medium", "large", "giant")},
    **{f"antsoccer-{maze}": _WALKS for maze in ("arena", "medium")},
    **{f"cube-{count}": _PLAY for count in ("single", "double", "triple", "quadruple")},
    "scene": _PLAY,
    **{f"puzzle-{size}": _PLAY for size in ("3x3", "4x4", "4x5", "4x6")},
}
_WITH_IMAGES = ("antmaze", "humanoidmaze", "cube", "scene", "puzzle")
TASKS = 5  # of every family

# The task that is meant without a number; of the mazes 1.
_DEFAULTS = {
    **dict.fromkeys(("antsoccer-arena", "antsoccer-medium"), 4),
    **dict.fromkeys((f for f in FAMILIES if f.startswith("cube-")), 2),
    "scene": 2,
    **{"puzzle-3x3": 4, "puzzle-4x4": 4, "puzzle-4x5": 2, "puzzle-4x6": 2},
}

# Cells (row, column) of the goals of tasks 1 to 5.
_CELLS = {
    "medium": ((6, 6), (1, 6), (4, 2), (6, 1), (1, 1)),
    "large": ((7, 10), (7, 1), (1, 10), (5, 4), (5, 4)),
    "giant": ((10, 14), (10, 1), (1, 1), (5, 12), (3, 8)),
    "teleport": ((7, 1), (7, 10), (7, 10), (7, 10), (7, 1)),
}
_SOCCER_CELLS = {
    "arena": ((5, 2), (2, 2), (6, 6), (6, 1), (1, 6)),
    "medium": ((6, 6), (1, 1), (6, 5), (5, 3), (1, 6)),
}
_CELL = 4.0  # metres of a side; cell (1, 1) is the origin
_POINT_RADIUS, _RADIUS = 1.0, 0.5  # of a goal, metres

# Where each cube belongs, x and y, or x, y and z, in metres; it lies on the table at z
# 0.02.
_CUBES = {
    "single": (
        ((0.425, -0.1),),
        ((0.5, 0.0),),
        ((0.35, 0.0),),
        ((0.5, 0.2),),
        ((0.5, -0.2),),
    ),
    "double": (
        ((0.425, 0.0), (0.425, 0.1)),
        ((0.35, 0.1), (0.5, 0.1)),
        ((0.425, -0.2), (0.425, 0.2)),
        ((0.425, 0.1), (0.425, -0.1)),
        ((0.425, 0.0), (0.425, 0.0, 0.06)),
    ),
    "triple": (
        ((0.35, -0.1), (0.35, 0.1), (0.5, 0.1)),
        ((0.5, 0.0), (0.5, 0.2), (0.5, -0.2)),
        ((0.35, -0.1), (0.5, -0.2), (0.5, 0.0)),
        ((0.5, -0.1), (0.5, 0.1), (0.35, 0.0)),
        ((0.425, 0.2), (0.425, 0.2, 0.06), (0.425, 0.2, 0.1)),
    ),
    "quadruple": (
        ((0.35, -0.25), (0.35, 0.1), (0.5, -0.1), (0.5, 0.25)),
        ((0.375, 0.1), (0.475, 0.1), (0.375, -0.1), (0.475, -0.1)),
        ((0.525, -0.2), (0.325, 0.2), (0.325, -0.2), (0.525, 0.2)),
        ((0.525, 0.1), (0.325, 0.1), (0.325, -0.1), (0.525, -0.1)),
        (
            (0.425, 0.2),
            (0.425, 0.2, 0.06),
            (0.425, 0.2, 0.1),
            (0.425, 0.2, 0.14),
        ),
    ),
}
_TABLE = 0.02
_TOLERANCE = 0.04  # of a cube, the drawer and the window, metres

# The cube, both buttons, the drawer and the window.
_SCENES = (
    ((0.35, 0.05, 0.02), "11", -0.16, 0.2),
    ((0.35, -0.05, 0.02), "00", 0.0, 0.0),
    ((0.4, 0.15, 0.02), "11", -0.16, 0.0),
    ((0.33, -0.356, 0.065986), "10", 0.0, 0.0),
    ((0.33, -0.356, 0.065986), "00", 0.0, 0.2),
)
_BUTTONS = {
    "3x3": ("110101011", "011111111", "101010101", "111111111", "101101101"),
    "4x4": (
        "1" * 16,
        "1111100110011111",
        "0101101001011010",
        "0" * 16,
        "0" * 16,
    ),
    "4x5": (
        "0" * 20,
        "1" * 20,
        "11111100011000111111",
        "00000001000010000000",
        "10001011100111010001",
    ),
    "4x6": (
        "0" * 24,
        "0" * 24,
        "111110110101101011011111",
        "100001000000000000100001",
        "100001011110011110100001",
    ),
}

# Where in the simulator's positions things lie: cubes follow the arm, 7 numbers each.
_ARM, _CUBE, _BALL = 14, 7, 15

# family's first word -> numbers of a state, of an action, and of positions
_WALKER_SIZES = {
    "pointmaze": (2, 2, 2),
    "antmaze": (29, 8, 15),
    "humanoidmaze": (69, 21, 28),
    "antsoccer": (42, 8, 22),
}
_ARM_STATE, _ARM_ACTIONS = 19, 5


def _names(visual: bool) -> str:
    """A pattern of the data sets' names without version."""
    each = "|".join(
        rf"{family}-(?:{'|'.join(kinds)})"
        for family, kinds in FAMILIES.items()
        if not visual or family.partition("-")[0] in _WITH_IMAGES
    )
    return rf"(?:{'visual-' if visual else ''}(?:{each}))"


# Single tasks that are observed as states, and as images.
STATES = rf"{_names(False)}-singletask(?:-task[1-{TASKS}])?(?:-v0)?"
IMAGES = rf"{_names(True)}-singletask(?:-task[1-{TASKS}])?(?:-v0)?"
_FILE = re.compile(rf"({_names(False)}|{_names(True)})-v0(?:-val)?(?: ?\(\d+\))?\.npz")


@dataclass(frozen=True)
class SingleTask:
    """One goal of a family, with one of its data sets.

    Attributes:
      family: such as "cube-single" or "antmaze-large".
      kind: of the data: "play", "noisy", "navigate", "stitch" or "explore".
      number: 1 to 5.
      visual: whether it is observed as images.
    """

    family: str
    kind: str
    number: int
    visual: bool = False

    @property
    def name(self) -> str:
        """With number and version, such as "cube-single-play-singletask-task1-v0"."""
        return f"{self._prefix}-{self.kind}-singletask-task{self.number}-v0"

    @property
    def dataset(self) -> str:
        """Of its data, such as "cube-single-play-v0"."""
        return f"{self._prefix}-{self.kind}-v0"

    @property
    def environment(self) -> str:
        """Of its environment, such as "cube-single-singletask-task1-v0"."""
        return f"{self._prefix}-singletask-task{self.number}-v0"

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of a state and of an action."""
        if self._kind in _WALKER_SIZES:
            return _WALKER_SIZES[self._kind][:2]
        if self._kind == "cube":
            return _ARM_STATE + 9 * self._cubes, _ARM_ACTIONS
        if self._kind == "scene":
            return 40, _ARM_ACTIONS
        return _ARM_STATE + 4 * self.buttons, _ARM_ACTIONS

    @property
    def positions(self) -> int:
        """Numbers of the simulator's positions, qpos."""
        if self._kind in _WALKER_SIZES:
            return _WALKER_SIZES[self._kind][2]
        if self._kind == "cube":
            return _ARM + _CUBE * self._cubes
        return 25 if self._kind == "scene" else _ARM + self.buttons

    @property
    def buttons(self) -> int:
        """How many buttons there are."""
        if self._kind == "puzzle":
            return len(_BUTTONS[self._layout][0])
        return 2 if self._kind == "scene" else 0

    @property
    def goal(self) -> tuple[float, float] | None:
        """x and y of a maze's goal in metres; None of other tasks."""
        if self._kind not in _WALKER_SIZES:
            return None
        cells = _SOCCER_CELLS if self._kind == "antsoccer" else _CELLS
        row, column = cells[self._layout][self.number - 1]
        return _CELL * (column - 1), _CELL * (row - 1)

    def conditions(
        self, qpos: np.ndarray, buttons: np.ndarray | None = None
    ) -> np.ndarray:
        """Which of the task's n conditions are met, bool [N, n].

        Args:
          qpos: float32 [N, P], the simulator's positions.
          buttons: of any integer type [N, B], states of scene's and puzzles' buttons.
        """
        if self._kind in _WALKER_SIZES:
            first = _BALL if self._kind == "antsoccer" else 0
            radius = _POINT_RADIUS if self._kind == "pointmaze" else _RADIUS
            return _near(qpos, first, self.goal, radius)[:, None]
        if self._kind == "cube":
            return np.stack(
                [
                    _near(qpos, _ARM + _CUBE * i, _on_table(target), _TOLERANCE)
                    for i, target in enumerate(self._goals(_CUBES))
                ],
                axis=1,
            )
        if self._kind == "puzzle":
            return buttons == _digits(self._goals(_BUTTONS))
        cube, wanted, drawer, window = _SCENES[self.number - 1]
        # in float32, as the package compares these two
        at = [
            np.abs(qpos[:, -2 + i] - place) <= _TOLERANCE
            for i, place in enumerate((drawer, window))
        ]
        there = _near(qpos, _ARM, cube, _TOLERANCE)
        return np.column_stack([there, buttons == _digits(wanted), *at])

    def rewards(
        self, qpos: np.ndarray, buttons: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The reward of each state, float32 [N]: 0 where all n conditions are met, else
        minus the number of those that are not; and whether all are, bool [N].

        It counts for the action that is taken in that state.
        """
        met = self.conditions(qpos, buttons)
        return (met.sum(1) - met.shape[1]).astype(np.float32), met.all(1)

    @property
    def _prefix(self) -> str:
        return f"visual-{self.family}" if self.visual else self.family

    @property
    def _kind(self) -> str:
        return self.family.partition("-")[0]

    @property
    def _layout(self) -> str:
        return self.family.partition("-")[2]

    @property
    def _cubes(self) -> int:
        return len(_CUBES[self._layout][0])

    def _goals(self, goals):
        return goals[self._layout][self.number - 1]


def find_task(name: str | None) -> SingleTask | None:
    """The single task of a name, if it is one's; without a number the default one."""
    if name is None:
        return None
    for pattern, visual in ((STATES, False), (IMAGES, True)):
        if re.fullmatch(pattern, name):
            front, _, back = name.partition("-singletask")
            return _task(front, visual, re.search(r"task(\d)", back))
    return None


def task_of_file(file_name: str) -> SingleTask | None:
    """The default task of the data, or validation data, published under this name."""
    if match := _FILE.fullmatch(file_name):
        return _task(match[1], match[1].startswith("visual-"), None)
    return None


def likely_task(name: str) -> str | None:
    """The name of the single task that a wrong name seems to mean, such as that of its
    data or one with a slip; None where it is like none.
    """
    front, _, back = name[:100].partition("-singletask")
    front = re.sub(r"(?:-v\d+)?(?:-val)?$", "", front)
    known = [x.removesuffix("-v0") for kind in (False, True) for x in datasets(kind)]
    near = difflib.get_close_matches(front, known, n=1, cutoff=0.85)
    number = re.match(rf"-task[1-{TASKS}](?!\d)", back)
    return f"{near[0]}-singletask{number[0] if number else ''}-v0" if near else None


def datasets(visual: bool = False) -> list[str]:
    """The data sets' names, with their version."""
    return [
        f"{'visual-' if visual else ''}{family}-{kind}-v0"
        for family, kinds in FAMILIES.items()
        for kind in kinds
        if not visual or family.partition("-")[0] in _WITH_IMAGES
    ]


def environments() -> list[str]:
    """The names of the environments of all single tasks, of states and of images."""
    return [
        SingleTask(family, kinds[0], number, visual).environment
        for visual in (False, True)
        for family, kinds in FAMILIES.items()
        for number in range(1, TASKS + 1)
        if not visual or family.partition("-")[0] in _WITH_IMAGES
    ]


def _task(front: str, visual: bool, number: re.Match | None) -> SingleTask:
    family, _, kind = front.removeprefix("visual-").rpartition("-")
    chosen = int(number[1]) if number else _DEFAULTS.get(family, 1)
    return SingleTask(family, kind, chosen, visual)


def _near(
    qpos: np.ndarray, first: int, target: tuple[float, ...], radius: float
) -> np.ndarray:
    """Whether the numbers from `first` on lie within a radius of a target, bool [N]."""
    there = qpos[:, first : first + len(target)].astype(np.float64)
    return np.linalg.norm(there - np.array(target), axis=1) <= radius


def _on_table(target: tuple[float, ...]) -> tuple[float, ...]:
    return target if len(target) == 3 else (*target, _TABLE)


def _digits(text: str) -> np.ndarray:
    return np.array([int(digit) for digit in text])
