"""The way images were recorded: as `dataset.json` says, or, of dm_control's tasks, as
task and lengths tell.

Also what a task says of its data: sizes of actions, and that only the clock ends it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vd4rl_loader.errors import DataError, shown
from vd4rl_loader.files.layout import Source
from vd4rl_loader.files.validation import DEPARTURE
from vd4rl_loader.simulators import suite
from vd4rl_loader.simulators.render import RenderStyle

_MAX_REPEAT = 1000  # steps of an episode
_MAX_FPS = 1e6
_REPEATS = (1, 2, 4, 8)  # those in use; V-D4RL's is 2
_FEW = 5  # episodes whose usual length is none; episodes that are named


class Recording(NamedTuple):
    """How a dataset was recorded.

    Attributes:
      render: how dm_control rendered the images; None: nobody says that it did.
      action_repeat: control steps per action; None: not of dm_control.
      guessed: which of these nobody says.
    """

    render: RenderStyle | None
    action_repeat: int | None
    guessed: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, image_size: int, lengths: np.ndarray) -> Recording:
        """What is known, and of dm_control's tasks guesses at the rest.

        Args:
          source: the files.
          image_size: of their images, in pixels.
          lengths: int [E], entries of the episodes.

        Raises:
          DataError: `dataset.json` holds what cannot be.
        """
        record, render, repeat, guessed = source.record, None, None, ()
        if suite.known(source.task):
            camera = suite.usual_camera(source.task)
            render = RenderStyle("vd4rl", image_size, camera)
            repeat = _fitting_repeat(lengths)
            fields = ("action_repeat", "render")
            guessed = tuple(name for name in fields if name not in record)
        try:
            if "render" in record:
                render = RenderStyle.from_json(record["render"])
            if "action_repeat" in record:
                repeat = given_repeat(record)
        except (ValueError, TypeError) as error:
            raise DataError(f"{source.folder / 'dataset.json'}: {error}") from error
        return cls(render, repeat, guessed)

    def notes(self, lengths: np.ndarray) -> list[str]:
        """Lines for the user: what was guessed, and what does not fit."""
        actions, limit = int(lengths.max()) - 1, suite.EPISODE_STEPS
        steps = f"{actions:,} actions of {self.action_repeat} control steps"
        notes = []
        if self.guessed:
            what = {
                "action_repeat": f"action repeat {self.action_repeat}",
                "render": f"camera {self.render.camera}, dm_control's own picture",
            }
            told = ", ".join(what[name] for name in self.guessed)
            notes.append(
                f"guessed, as no dataset.json says it (docs/data.md): {told}; "
                f"evaluation plays {limit:,} control steps"
            )
        if actions * self.action_repeat != limit:
            notes.append(
                f"the longest episode has {steps}, not {limit:,} in all: is action "
                f"repeat {self.action_repeat} right?"
            )
        return notes


def _fitting_repeat(lengths: np.ndarray) -> int:
    """The action repeat with which the longest episode fills the time limit, or 2."""
    actions = int(lengths.max()) - 1
    fitting = [r for r in _REPEATS if actions * r == suite.EPISODE_STEPS]
    return fitting[0] if fitting else 2


def given_repeat(record: dict[str, Any]) -> int:
    """The action repeat that a record says; DataError for what can't be one."""
    given = record["action_repeat"]
    if type(given) is not int or not 1 <= given <= _MAX_REPEAT:
        raise DataError(
            f"action_repeat is {shown(repr(given))}, expected a whole number from 1 to "
            f"{_MAX_REPEAT}"
        )
    return given


def refuse_other_size(source: Source, action_size: int | None) -> None:
    """Refuses data whose actions have another size than the task's.

    Args:
      source: the files.
      action_size: numbers in their actions; None if it is not known.

    Raises:
      DataError: they have.
    """
    expected = suite.ACTION_SIZES.get(source.task)
    if None in (expected, action_size) or expected == action_size:
        return
    alike = [name for name, size in suite.ACTION_SIZES.items() if size == action_size]
    hint = f" ({action_size} have {', '.join(alike[:_FEW])})" if alike else ""
    raise DataError(
        f"{source.folder}: actions of {action_size} numbers, but {source.task} has "
        f"{expected}: give that task's data, or another --task{hint}"
    )


def provenance(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says that its data were converted from, as far as it says it:
    texts "format", "dataset", "environment" and "robot", and a number "fps".
    """
    told = record.get("source")
    if not isinstance(told, dict):
        return {}
    names = ("format", "dataset", "environment", "robot")
    found = {name: told[name] for name in names if isinstance(told.get(name), str)}
    fps = told.get("fps")
    if type(fps) in (int, float) and 0 < fps <= _MAX_FPS:
        found["fps"] = fps
    return found


def true_terminals(
    task: str | None, is_terminal: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Terminals without time limits that were stored as such, bool [N]; and notes."""
    count = int(np.count_nonzero(is_terminal))
    if count == 0:
        return is_terminal, []
    if suite.never_ends(task):
        note = f"{count:,} terminals taken for time limits: {task} never ends"
        return np.zeros_like(is_terminal), [note]
    if count < len(lengths) or np.ptp(lengths):
        return is_terminal, []
    told = f"all {count:,} episodes end with a terminal after {lengths[0]:,} entries: "
    fills = (lengths[0] - 1) * _fitting_repeat(lengths) == suite.EPISODE_STEPS
    if task is None and fills:
        return np.zeros_like(is_terminal), [f"{told}taken for dm_control's time limit"]
    hint = "if that is a time limit, store is_terminal as false"
    return is_terminal, [told + hint] if count > 1 else []


def longest_episode(task: str | None) -> int | None:
    """Entries of a task's longest episodes, at action repeat 1; None if unknown."""
    return suite.EPISODE_STEPS + 1 if suite.never_ends(task) else None


def unusual_lengths(lengths: np.ndarray, origins: list[str]) -> list[str]:
    """Names episodes of another length than nearly all have."""
    values, counts = np.unique(lengths, return_counts=True)
    usual = values[counts.argmax()]
    others = np.flatnonzero(lengths != usual)
    if len(lengths) < _FEW or not 0 < len(others) <= len(lengths) / 4:
        return []
    named = [f"{origins[e]} ({lengths[e]:,})" for e in others[:_FEW]]
    more = ", …" if len(others) > _FEW else ""
    return [
        f"{len(others):,} episodes have another length than {usual:,} entries: "
        f"{', '.join(named)}{more}"
    ]


def alignment_hints(
    action: np.ndarray, offsets: np.ndarray, departure: bool
) -> list[str]:
    """A line for data whose order could be the other one."""
    last = action[offsets[1:] - 1]
    if departure or last.any() or len(last) < 2 or not np.asarray(action[:-1]).any():
        return []
    return [f"the first and the last action of every episode are zero: {DEPARTURE}"]
