"""What the page asks, and what it is told: plain data for JSON, pictures as data URIs.

A moment is {"source": "dataset", "number": 0, "entry": 20}; a dream is asked for with
its moment, "actions" (a kind, or [H][A]), "steps" H and "seed".
"""

import base64
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dreamer_leq.evaluation.videos import dream_grid, write_video
from dreamer_leq.explorer.joints import joint_names
from dreamer_leq.explorer.script import python_lines
from dreamer_leq.explorer.session import (
    KINDS,
    LONGEST,
    Dream,
    DreamSession,
    Moment,
    Real,
)
from dreamer_leq.explorer.views import View
from dreamer_leq.pages.charts import MEMBER_COLOURS
from dreamer_leq.system.errors import UserError

STEPS = 15  # of a dream, before another number is chosen
_LARGEST_SEED = 2**31 - 1

Body = Mapping[str, Any]


class Answers:
    """The methods that the page may ask, each with one JSON object."""

    asked = (
        *("play", "moment", "dream", "simulate", "lines"),
        *("film", "actions", "begin_drive", "drive"),
    )

    def __init__(
        self,
        session: DreamSession,
        view: View | None,
        environment: Mapping[str, Any],
        data: str | None = None,
        step: int | None = None,
        encoding: str = "PNG",
        valued: bool = True,
        counted: str = "",
    ) -> None:
        """`data`: where the dataset has moved; `step`: of the policy's checkpoint;
        `valued`: whether a critic has been trained, whose values mean something;
        `counted`: as what it counts a reward, where that is not the dataset's.
        """
        self.session, self.view = session, view
        self._environment, self._data, self._step = environment, data, step
        self._encoding, self._valued, self._counted = encoding, valued, counted

    def about(self) -> dict[str, Any]:
        """What the page has to know before it asks anything."""
        run = self.session.run
        return {
            "task": run.config.task,
            "path": str(run.path),
            "members": run.members,
            "joints": joint_names(self._environment, run.action_size),
            "kinds": list(KINDS),
            "steps": STEPS,
            "longest": LONGEST,
            "valued": self._valued,
            "counted": self._counted,
            "separate": run.config.world_model == "mlp_ensemble",
            "together": self._together,
            "lengths": self._lengths(),
            "colours": list(MEMBER_COLOURS),
        }

    def first(self) -> dict[str, Any]:
        """The first moment that there is, of the dataset where there is one."""
        lengths = self.session.lengths()
        source = next(name for name, found in lengths.items() if found)
        return {"source": source, "number": min(lengths[source]), "entry": 0}

    def play(self, body: Body) -> dict[str, Any]:
        """The policy plays an episode: its seed, length and return."""
        seed = _whole(body, "seed", 0, _LARGEST_SEED)
        episode = self.session.play(seed)
        total = float(episode.entries["reward"][1:].sum())
        return {"seed": seed, "return": total, "lengths": self._lengths()}

    def moment(self, body: Body) -> dict[str, Any]:
        """What there is at a moment, and what the run thinks of it."""
        moment = _moment(body)
        both = np.stack([self.session.seen(moment), self.session.reconstructed(moment)])
        return {
            "picture": self._strip(self._shown(both[:, None])),
            "numbers": self._numbers(both),
            "value": self.session.value(moment),
            "reward": self.session.expected_reward(moment),
            "simulated": self.session.can_simulate(moment),
        }

    def dream(self, body: Body) -> dict[str, Any]:
        """All members' dream, and what really followed."""
        moment, actions, seed = self._wanted(body)
        dream = self.session.dream(moment, actions, seed)
        real = self.session.real(moment, len(dream.action))
        return {
            "actions": dream.action.astype(float).tolist(),
            "strip": self._strip(self._pictures(moment, dream)),
            "numbers": self._numbers(dream.seen),
            "reward": _plain(dream.reward),
            "value": _plain(dream.value),
            "disagreement": _plain(dream.disagreement),
            "going": _plain(dream.cont),
            "real": self._real(moment, real, drawn=not self._together),
        }

    def simulate(self, body: Body) -> dict[str, Any]:
        """What the environment shows under the same actions."""
        moment, actions, _ = self._wanted(body)
        return self._real(moment, self.session.simulate(moment, actions))

    def lines(self, body: Body) -> dict[str, str]:
        """Python that dreams the same."""
        moment, actions, seed = self._wanted(body)
        run = self.session.run
        return {
            "lines": python_lines(
                run.path, self._step, self._data, moment, actions, seed
            )
        }

    def film(self, body: Body) -> bytes:
        """The dream as "mp4" or "gif"."""
        moment, actions, seed = self._wanted(body)
        if self.view is None:
            raise UserError("these states have no picture: save the actions instead")
        kind = body.get("format")
        if kind not in ("mp4", "gif"):
            raise UserError("format: give mp4 or gif")
        dream = self.session.dream(moment, actions, seed)
        pictures = self._pictures(moment, dream)
        frames = pictures[0]
        if not self._together:
            frames = dream_grid(pictures, dream.reward)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"dream.{kind}")
            write_video(file, frames)
            return file.read_bytes()

    def actions(self, body: Body) -> bytes:
        """A npz with the actions, what they led to, and where they begin."""
        moment, actions, seed = self._wanted(body)
        dream = self.session.dream(moment, actions, seed)
        file = io.BytesIO()
        np.savez(
            file,
            action=dream.action,
            reward=dream.reward,
            value=dream.value,
            disagreement=dream.disagreement,
            seed=seed,
            source=moment.source,
            episode=moment.number,
            entry=moment.entry,
        )
        return file.getvalue()

    def begin_drive(self, body: Body) -> dict[str, Any]:
        """A drive by hand begins at a moment, in the dream of "member"."""
        members = self.session.run.members
        self.session.begin_drive(_moment(body), _whole(body, "member", 0, members - 1))
        return {}

    def drive(self, body: Body) -> dict[str, Any]:
        """One step of it, under "action" [A]."""
        found = self.session.drive(_actions(body, "action", 1))
        seen = [found.seen]
        if found.real_seen is not None:
            seen.append(found.real_seen)
        return {
            "picture": self._strip(self._shown(np.stack(seen)[:, None])),
            "numbers": self._numbers(np.stack(seen)),
            "reward": found.reward,
            "value": found.value,
            "real_reward": found.real_reward,
        }

    # --- behind it

    def _wanted(self, body: Body) -> tuple[Moment, np.ndarray, int]:
        """Of a dream: where, under which actions [H, A], with which random numbers."""
        moment, seed = _moment(body), _whole(body, "seed", 0, _LARGEST_SEED)
        if not isinstance(kind := body.get("actions"), str):
            return moment, _actions(body, "actions", 2), seed
        steps = _whole(body, "steps", 1, LONGEST)
        return moment, self.session.actions(moment, kind, steps, seed), seed

    @property
    def _together(self) -> bool:
        """Whether all members, and what really followed, are in one picture."""
        return self.view is not None and self.view.together

    def _lengths(self) -> dict[str, list[list[int]]]:
        """[number, entries] of each episode, by source."""
        known = self.session.lengths()
        return {name: [list(x) for x in found.items()] for name, found in known.items()}

    def _pictures(self, moment: Moment, dream: Dream) -> np.ndarray | None:
        if self.view is None:
            return None
        start = self.session.seen(moment)
        real = self.session.real(moment, len(dream.action)).seen
        return self.view.dreamt(start, dream.seen, real)

    def _real(self, moment: Moment, real: Real, drawn: bool = True) -> dict[str, Any]:
        pictures = None
        if self.view and drawn and len(real.seen):
            start = self.session.seen(moment)
            pictures = self.view.followed(start, real.seen)
        return {
            "strip": self._strip(pictures),
            "numbers": self._numbers(real.seen[None]),
            "reward": _plain(real.reward),
        }

    def _shown(self, seen: np.ndarray) -> np.ndarray | None:
        return self.view.shown(seen) if self.view else None

    def _strip(self, pictures: np.ndarray | None) -> dict[str, Any] | None:
        """Pictures [R, H, S, S, 3] as one image of R rows and H columns."""
        if pictures is None:
            return None
        rows, steps, side = pictures.shape[:3]
        whole = pictures.swapaxes(1, 2).reshape(rows * side, steps * side, 3)
        file = io.BytesIO()
        how = {"compress_level": 1} if self._encoding == "PNG" else {"quality": 80}
        Image.fromarray(whole).save(file, self._encoding, **how)
        text = base64.b64encode(file.getvalue()).decode()
        kind = self._encoding.lower()
        return {
            "uri": f"data:image/{kind};base64,{text}",
            **{"rows": rows, "steps": steps, "side": side},
        }

    def _numbers(self, seen: np.ndarray) -> list | None:
        """The states themselves, where they can't be drawn."""
        return None if self.view else _plain(seen)


def _plain(x: np.ndarray) -> list:
    """Numbers that JSON knows, [...]."""
    return np.nan_to_num(x.astype(float)).round(5).tolist()


def _moment(body: Body) -> Moment:
    source = body.get("source")
    if not isinstance(source, str):
        raise UserError("source: give dataset or played")
    number = _whole(body, "number", 0, _LARGEST_SEED)
    return Moment(source, number, _whole(body, "entry", 0, _LARGEST_SEED))


def _whole(body: Body, name: str, least: int, most: int) -> int:
    value = body.get(name)
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{name}: give a whole number from {least} to {most}")
    return value


def _actions(body: Body, name: str, axes: int) -> np.ndarray:
    """float32 with so many axes; the run checks the rest."""
    try:
        found = np.asarray(body.get(name), np.float32)
    except (TypeError, ValueError):
        found = np.zeros(())
    if found.ndim != axes or not found.size:
        raise UserError(f"{name}: give numbers from -1 to 1, of each joint")
    return found
