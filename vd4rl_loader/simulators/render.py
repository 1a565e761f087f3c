"""Render styles of images: recorded with the data, used again by evaluation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from vd4rl_loader.errors import DataError, shown

MAX_SIZE = 4096  # pixels along a side: larger frames are no observations


@dataclasses.dataclass(frozen=True)
class RenderStyle:
    """Everything besides the physics state that decides a frame's pixels.

    It names the picture that dm_control would draw with these settings. `drawing` comes
    so close that nothing but its speed shows: its tolerance is in docs/performance.md.

    Attributes:
      name: "vd4rl" (dm_control as it comes), "fast", or a name of the user's own.
      size: height and width of a frame, in pixels.
      camera: index of the task's camera.
      shadows: edge of the shadow map in pixels (`shadowsize`); 0 casts no shadows.
      reflections: whether the floor mirrors what stands on it.
      antialias: samples per pixel (`offsamples`); 0 smooths no edges.
    """

    name: str = "vd4rl"
    size: int = 64
    camera: int = 0
    shadows: int = 2048
    reflections: bool = True
    antialias: int = 4

    def __post_init__(self) -> None:
        for field, kind in _FIELDS.items():
            value = getattr(self, field)
            if type(value) is not kind:
                raise DataError(
                    f"render style: {field} is {shown(repr(value))}, expected "
                    f"{kind.__name__}"
                )
        for field, (least, most) in _RANGES.items():
            if not least <= getattr(self, field) <= most:
                given = shown(str(getattr(self, field)))
                raise DataError(
                    f"render style: {field} is {given}, expected {least} to {most}"
                )

    @classmethod
    def named(cls, name: str, size: int = 64) -> RenderStyle:
        """One of the two known styles, at `size` pixels.

        Raises:
          DataError: `name` is neither "vd4rl" nor "fast".
        """
        if name not in _NAMED:
            raise DataError(
                f"unknown render style {name!r}: give one of {', '.join(_NAMED)}"
            )
        return cls(name=name, size=size, **_NAMED[name])

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON-able dict, inverse of `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RenderStyle:
        """The style that `to_json` wrote.

        Raises:
          DataError: a field is missing, unknown or of the wrong type.
        """
        if not isinstance(fields, dict) or set(fields) != set(_FIELDS):
            raise DataError(
                f"render style {shown(json.dumps(fields))}: expected exactly the "
                f"fields {', '.join(_FIELDS)}"
            )
        return cls(**fields)


_FIELDS = {
    "name": str,
    "size": int,
    "camera": int,
    "shadows": int,
    "reflections": bool,
    "antialias": int,
}

# Beyond these a frame would take gigabytes to draw.
_RANGES = {
    "size": (1, MAX_SIZE),
    "camera": (0, 1000),
    "shadows": (0, 1 << 14),
    "antialias": (0, 64),
}

_NAMED: dict[str, dict[str, Any]] = {
    "vd4rl": {"shadows": 2048, "reflections": True, "antialias": 4},
    "fast": {"shadows": 0, "reflections": False, "antialias": 0},
}
