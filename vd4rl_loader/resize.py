"""Resizing of images: data and evaluation must see the same pixels."""

from __future__ import annotations

import numpy as np


def resize_images(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes frames with Pillow's bicubic filter (anti-aliased when shrinking).

    Args:
      images: uint8 [..., H, W, 3], any number of leading axes.
      size: height and width of the result, in pixels.

    Returns:
      uint8 [..., size, size, 3]; `images` itself when it has that size already.
    """
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise TypeError(
            f"expected uint8 [..., H, W, 3], got {images.dtype} {images.shape}"
        )
    if images.shape[-3:-1] == (size, size):
        return images
    frames = images.reshape(-1, *images.shape[-3:])
    resized = np.empty((len(frames), size, size, 3), np.uint8)
    for i, frame in enumerate(frames):
        resized[i] = _resize_frame(frame, size)
    return resized.reshape(*images.shape[:-3], size, size, 3)


def _resize_frame(frame: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image  # here, so that environment workers do not import Pillow

    image = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
