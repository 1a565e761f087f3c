"""Where episodes begin and end: as the source says, and as its states show.

Flags are often wrong: resets are not marked, simulators that reset by themselves store
the next episode's first state as the last one's end, time limits count as terminals.
Rows that certainly lead across a reset are dropped; what is only likely is said.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from vd4rl_loader.files.validation import GO_ON, BadFileError
from vd4rl_loader.states.tasks import USUAL_LIMIT, TaskFacts
from vd4rl_loader.states.transitions import Rows, Transitions, follows, select

# A row's leap is 1 where a quarter of its state's numbers change as much as they do in
# one row of ten. In MuJoCo's tasks the largest within episodes are 2.6, most resets 8.
_CERTAIN, _LIKELY = 5.0, 3.0
_SAMPLE = 100_000  # rows from which the usual change is measured
# Of a state's distance to the first one, in standard deviations of its numbers: resets
# are within 0.14 where all episodes begin alike, one of a hundred other rows is.
_LIKE_FIRST = 0.15


def episodes(rows: Rows, facts: TaskFacts, skip_bad: bool = False) -> Transitions:
    """Cuts a source's rows into episodes without a transition across a reset.

    Args:
      rows: R rows.
      facts: what is known of the task.
      skip_bad: go on where what is dropped matters, and say so.

    Raises:
      BadFileError: the dropped rows hold most rewards or terminals, or the task never
        ends and most episodes do.
    """
    if rows.whole:
        return select(rows, ~rows.dropped, np.append(True, rows.ends[:-1]))
    marks = _Marks(rows.ends.copy(), rows.dropped.copy(), list(rows.notes))
    shape = _Shape.of(rows)
    following = _drop_resets(rows, shape, marks)
    if facts.limit and not rows.goals:
        _cut_at_limit(rows, shape, facts.limit, marks)
    _tell_cuts(shape, marks)
    terminal = rows.terminal
    if not rows.goals:
        terminal = terminal & ~_time_limits(rows, facts, marks, skip_bad)
    if not rows.stored:
        _drop_unknown(terminal, rows.goals or following, marks)
    marks.notes += _doubts(rows, facts)
    rows = dataclasses.replace(rows, terminal=terminal)
    _weigh(rows, marks, skip_bad)
    rows = dataclasses.replace(rows, notes=tuple(marks.notes))
    return select(rows, ~marks.dropped, marks.begins(shape.joined))


@dataclasses.dataclass
class _Marks:
    """The cuts so far.

    Attributes:
      ends: bool [R], an episode ends in or with the row.
      dropped: bool [R], the row is no transition.
      notes: texts for the user.
    """

    ends: np.ndarray
    dropped: np.ndarray
    notes: list[str]

    def drop(self, which: np.ndarray, text: str) -> None:
        """Drops rows, each of which ends an episode, and notes how many."""
        if count := int(np.count_nonzero(which & ~self.dropped)):
            self.notes.append(f"{count:,} {text}")
        self.dropped |= which
        self.ends |= which

    def begins(self, joined: np.ndarray) -> np.ndarray:
        """Rows that begin an episode, bool [R]."""
        begins = np.ones_like(self.ends)
        begins[1:] = (self.ends | ~joined)[:-1]
        return begins


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What rows' states look like.

    Attributes:
      joined: bool [R], the next row goes on where this one arrived.
      leap: float [R], the change of the state against the usual one.
      like_first: bool [R], the row arrives where the source's first one began.
      inside: bool [R], the row is neither the first nor the last of an episode.
    """

    joined: np.ndarray
    leap: np.ndarray
    like_first: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, rows: Rows) -> _Shape:
        inside = ~(rows.ends | np.append(True, rows.ends[:-1]))
        inside |= not inside.any()
        sample = np.flatnonzero(inside)[:: np.count_nonzero(inside) // _SAMPLE + 1]
        usual = _quantile(_distance(rows.next_state[sample], rows.state[sample]), 0.9)
        spread = rows.state.std(0, dtype=np.float64).astype(np.float32)
        leap, like_first = (np.empty(len(inside), np.float32) for _ in range(2))
        for start in range(0, len(inside), _SAMPLE):  # a part in memory at a time
            part = slice(start, start + _SAMPLE)
            state, arrived = rows.state[part], rows.next_state[part]
            leap[part] = _ratio(_distance(arrived, state), usual, 0.75)
            like_first[part] = _ratio(_distance(arrived, rows.state[0]), spread, 0.5)
        wrapped = np.append(rows.state, rows.state[:1], axis=0)  # as a shift leaves it
        joined = follows(wrapped, np.append(rows.next_state, wrapped[:1], axis=0))
        joined[-1] &= rows.stored
        return cls(joined, leap, like_first < _LIKE_FIRST, inside)

    def reset(self, at: np.ndarray) -> bool:
        """Whether most of the rows `at` (numbers) lead to a new beginning."""
        if len(at) == 0:
            return False
        if np.mean(self.leap[at] >= _LIKELY) > 0.5:
            return True
        if len(at) < 3:  # chance
            return False
        far = np.median(self.leap[at]) > _quantile(self.leap[self.inside], 0.95)
        like, others = (self.like_first[x].mean() for x in (at, self.inside))
        return bool(far or like > 0.5 > 5 * others)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.nan_to_num(np.abs(one - other))


def _ratio(numbers: np.ndarray, unit: np.ndarray, q: float) -> np.ndarray:
    """Quantile over D of numbers [R, D] in units [D]; units of zero do not count."""
    with np.errstate(over="ignore"):
        return _quantile((numbers[:, unit > 0] / unit[unit > 0]).T, q)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Quantiles over the first axis; 0 of nothing."""
    if 0 in values.shape:
        return np.zeros(values.shape[1:])
    return np.quantile(values, q, axis=0)


def _drop_resets(rows: Rows, shape: _Shape, marks: _Marks) -> bool:
    """Drops rows that certainly lead across a reset.

    Returns:
      Whether the row after an end belongs to the reset, so that it has the state in
      which the episode ended.
    """
    at = np.flatnonzero(marks.ends[:-1] & shape.joined[:-1])
    after = np.zeros_like(marks.ends)
    following = _resets_take_a_row(rows, shape, at)
    if following:
        after[at + 1] = True
        marks.drop(after, "rows dropped that are only resets")
    elif rows.stored and 2 * len(at) >= marks.ends[:-1].sum() and shape.reset(at):
        after[at] = True
        marks.drop(after, "ends dropped, whose next states are other episodes'")
    leaps = shape.joined & ~marks.ends & (shape.leap >= _CERTAIN)
    marks.drop(leaps, "rows dropped that lead across resets which are not marked")
    return following


def _resets_take_a_row(rows: Rows, shape: _Shape, at: np.ndarray) -> bool:
    """As Gymnasium's vector environments do it: no reward, and the action is lost."""
    after = at[at + 1 < len(shape.joined)] + 1
    after = after[shape.joined[after]]
    if len(after) == 0 or 2 * len(after) < len(at) or rows.reward[after].any():
        return False
    unusual = np.count_nonzero(rows.reward == 0) <= 2 * len(after) >= 4
    return not shape.reset(at) and (shape.reset(after) or unusual)


def _cut_at_limit(rows: Rows, shape: _Shape, limit: int, marks: _Marks) -> None:
    """Ends episodes that go on past the task's limit, where the states agree."""
    firsts = np.flatnonzero(marks.begins(shape.joined))
    stops = np.append(firsts[1:], len(marks.ends))
    cuts, longer = np.zeros_like(marks.ends), []
    for first, stop in zip(firsts, stops, strict=True):
        while stop - first > limit:
            last = first + limit - 1
            if not (shape.leap[last] >= _LIKELY or shape.like_first[last]):
                longer.append(f"{first} to {stop - 1}")
                break
            cuts[last] = True
            first += limit
    marks.drop(cuts, f"rows dropped at the time limit of {limit} steps, not marked")
    if longer:
        marks.notes.append(
            f"{len(longer):,} episodes are longer than the task's limit of {limit:,} "
            f"steps (rows {_some(longer)}): is an end not marked in timeouts?"
        )


def _tell_cuts(shape: _Shape, marks: _Marks) -> None:
    """Notes what the source does not say, and what is only likely."""
    if unmarked := np.count_nonzero(~(shape.joined | marks.ends)[:-1]):
        mixed = 2 * unmarked > len(shape.joined)
        hint = ": are rows of several environments mixed?" if mixed else ""
        marks.notes.append(
            f"{unmarked:,} cuts where states do not follow one another{hint}"
        )
    rows = np.flatnonzero(shape.joined & ~marks.ends & (shape.leap >= _LIKELY))
    if len(rows):
        marks.notes.append(
            f"{len(rows):,} rows lead {shape.leap[rows].min():.1f} to "
            f"{shape.leap[rows].max():.1f} times as far as usual ones (rows "
            f"{_some(rows)}): if they are resets, mark them in timeouts"
        )


def _some(rows: np.ndarray | list) -> str:
    return ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")


def _time_limits(
    rows: Rows, facts: TaskFacts, marks: _Marks, skip_bad: bool
) -> np.ndarray:
    """Terminals that are none, bool [R]: the clock ended the episode."""
    limit = facts.limit or USUAL_LIMIT
    starts = np.flatnonzero(np.append(True, marks.ends[:-1]))
    step = np.arange(len(marks.ends)) - np.repeat(
        starts, np.diff(np.append(starts, len(marks.ends)))
    )
    at_limit = rows.terminal & (step + 1 == limit)
    if at_limit.any():
        marks.notes.append(
            f"{at_limit.sum():,} terminals at step {limit} taken for the time limit"
        )
    early = rows.terminal & ~at_limit
    if facts.never_ends and early.any():
        text = f"{early.sum():,} terminals before step {limit}, but {facts.name} never"
        if 2 * early.sum() > len(starts) and not skip_bad:
            raise BadFileError(f"{text} ends: is it another task's file? {GO_ON}")
        marks.notes.append(f"{text} ends: taken for time limits")
        return rows.terminal
    steps = step[early] + 1
    if facts.limit is None and len(steps) > 1 and (steps == step.max() + 1).all():
        marks.notes.append(
            f"all {len(steps):,} terminals are at step {steps[0]:,}, no episode is "
            "longer: if that is a time limit, store them as timeouts"
        )
    return at_limit


def _doubts(rows: Rows, facts: TaskFacts) -> list[str]:
    """A line for states that the task's episodes do not go on from."""
    if facts.height is None:
        return []
    number, low, high = facts.height
    height = rows.state[:, number]
    outside = np.count_nonzero((height < low) | (height > high))
    if 2 * outside < len(height):
        return []
    return [
        f"{facts.name} would have ended in {outside:,} of {len(height):,} states "
        f"(number {number} is outside of {low} to {high}): is it another task's file?"
    ]


def _drop_unknown(terminal: np.ndarray, known: bool, marks: _Marks) -> None:
    """Drops rows whose next states are not stored."""
    if not known:
        marks.drop(
            marks.ends & ~marks.dropped & terminal,
            "terminal rows dropped, their next states are not stored",
        )
        marks.drop(
            marks.ends & ~marks.dropped,
            "rows dropped at the time limit, their next states are not stored",
        )
    if not marks.dropped[-1]:
        marks.notes.append("the last row dropped, its next state is not stored")
    marks.dropped[-1] = True


def _weigh(rows: Rows, marks: _Marks, skip_bad: bool) -> None:
    """Refuses to go on without what matters, unless the user wants to."""
    values, counts = np.unique(rows.reward, return_counts=True)
    paid = rows.reward != values[counts.argmax()]  # all but the most frequent reward
    losses = []
    for name, rare in {"rewards": paid, "terminals": rows.terminal}.items():
        lost, total = (int(np.count_nonzero(x)) for x in (rare & marks.dropped, rare))
        if 2 * lost > total:
            losses.append(f"the dropped rows hold {lost:,} of {total:,} {name}")
    if losses and not (skip_bad or marks.dropped.all()):
        why = f" ({'; '.join(marks.notes)})" if marks.notes else ""
        raise BadFileError(f"{'; '.join(losses)}{why}: {GO_ON}")
    marks.notes += losses
