"""Reads frames of a video by their times, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vd4rl_loader.files.untrusted import reading, refuse_no_file
from vd4rl_loader.files.validation import BadFileError

_APART = 0.1  # of a frame's duration, by which its time may differ


class Video:
    """An .mp4 file, which is decoded once if its frames are asked for in order.

    Attributes:
      path: the file.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self.path, self._size, self._fps = path, size, fps
        self._start()

    def frames(self, times: np.ndarray) -> Iterator[np.ndarray]:
        """The frames at [T] rising times in seconds, uint8 [H, W, 3] each.

        Raises:
          BadFileError: there are none, they are of another size, or damaged.
        """
        if len(times) and times[0] < self._time - _APART / self._fps:
            self._start()
        for time in times:
            with reading(self.path.name):
                frame = self._frame(float(time))
            yield frame

    def _start(self) -> None:
        self._pictures = self._decoded()
        self._time, self._picture = -np.inf, None

    def _frame(self, time: float) -> np.ndarray:
        while self._time < time - _APART / self._fps:
            self._time, self._picture = next(self._pictures, (np.inf, None))
        if self._time > time + _APART / self._fps:
            raise BadFileError(f"{self.path.name}: no frame at {time:.4f} s")
        return self._picture.to_ndarray(format="rgb24")

    def _decoded(self) -> Iterator[tuple[float, object]]:
        """Times in seconds and frames, as they are shown."""
        try:
            import av
        except ImportError as error:
            raise BadFileError(
                "reading videos needs PyAV: pip install 'dreamer-leq[lerobot]'"
            ) from error
        refuse_no_file(self.path)
        # No other container: some of them name further files to open.
        with av.open(str(self.path), format="mp4") as container:
            if not container.streams.video:
                raise BadFileError(f"{self.path.name}: holds no video")
            try:
                for frame in container.decode(video=0):
                    self._refuse_size(frame.height, frame.width)
                    yield float(frame.pts * frame.time_base), frame
            except av.FFmpegError as error:
                raise BadFileError(f"{self.path.name}: is damaged ({error})") from error

    def _refuse_size(self, height: int, width: int) -> None:
        if (height, width) != self._size:
            raise BadFileError(
                f"{self.path.name}: frames of {height}×{width}, expected "
                f"{self._size[0]}×{self._size[1]}"
            )
