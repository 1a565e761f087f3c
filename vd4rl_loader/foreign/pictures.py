"""Images of other projects as here: square, of three channels, channels last."""

from __future__ import annotations

import numpy as np

from vd4rl_loader.files.validation import BadFileError, refuse
from vd4rl_loader.foreign.reading import Notes
from vd4rl_loader.resize import resize_images

_GREY = "episodes of grey images: written three times, as red, green and blue"
_ALPHA = "episodes with a fourth channel: left out"
_STACKS = "episodes of stacked frames: the last frame of each is taken"
_FIRST = "episodes with channels first: put last"
_MOST = 16  # channels that images may have: more are rows of pixels


def prepared(
    frames: np.ndarray, size: int | None, crop: bool, notes: Notes
) -> np.ndarray:
    """Square images of three channels.

    Args:
      frames: uint8 [T, H, W], [T, H, W, C] or [T, C, H, W].
      size: height and width of the result, in pixels; None: that of the source.
      crop: take the middle of images that are not square.
      notes: receives what was done, by the episode.

    Returns:
      uint8 [T, S, S, 3].

    Raises:
      BadFileError: they are no such images.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4):
        refuse([f"image: {frames.dtype} {frames.shape}, expected uint8 [T, H, W, 3]"])
    frames = _three_channels(_channels_last(frames, notes), notes)
    height, width = frames.shape[1:3]
    refuse_shape(height, width, crop)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    frames = frames[:, top : top + side, left : left + side]
    return resize_images(frames, size or side)


def refuse_shape(height: int, width: int, crop: bool) -> None:
    """Raises a BadFileError if images aren't square, and not cropped either."""
    if height != width and not crop:
        raise BadFileError(
            f"image: {height}×{width} pixels, expected square images: --crop takes "
            "their middle"
        )


def _channels_last(frames: np.ndarray, notes: Notes) -> np.ndarray:
    if frames.ndim == 3:
        return frames[..., None]
    if frames.shape[3] > _MOST >= frames.shape[1]:
        notes[_FIRST] += 1
        return frames.transpose(0, 2, 3, 1)
    return frames


def _three_channels(frames: np.ndarray, notes: Notes) -> np.ndarray:
    channels = frames.shape[3]
    if channels == 3:
        return frames
    if channels == 1:
        notes[_GREY] += 1
        return np.repeat(frames, 3, axis=3)
    if channels == 4:
        notes[_ALPHA] += 1
        return frames[..., :3]
    if channels % 3:
        refuse([f"image: {channels} channels, expected 3, or stacks of 3"])
    notes[_STACKS] += 1
    return frames[..., -3:]
