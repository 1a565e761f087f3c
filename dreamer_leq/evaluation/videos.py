"""Videos: what the environment shows, and what the world model imagines.

Frames are uint8 [T, H, W, 3]. The grids enlarge environment images by a whole factor
and without smoothing, so that one sees every pixel that the model sees or makes.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import replacing

FORMATS = (".mp4", ".gif")
FPS = 20  # of a walker in real time, at two control steps of 25 ms a frame
# What the sides of a bare video, and of a tile in a grid, reach at least, in pixels.
VIDEO_SIDE, TILE_SIDE = 192, 128
MAX_COLUMNS = 5
GAP, BORDER, LINE, FONT_SIZE = 6, 3, 20, 13
CURVE_WIDTH, CURVE_HEIGHT = 280, 44

Colour = tuple[int, int, int]
BACKGROUND, PANEL = (24, 26, 31), (36, 39, 46)
TEXT, FAINT = (226, 228, 233), (112, 118, 130)
CONTEXT, PREDICTION = (86, 180, 233), (230, 159, 0)  # colour-blind people see both

# --- files


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float = FPS
) -> None:
    """Writes an mp4 (H.264, plays everywhere) or an endless gif, atomically.

    Frames smaller than 192 px are enlarged by a whole factor. H.264 wants even
    sides: an odd one is made even by repeating the last row or column.

    Args:
        path: ends in .mp4 or .gif.
        frames: uint8 [T, H, W, 3], or one [H, W, 3] after the other.
        fps: frames a second.

    Raises:
        UserError: the file has another suffix.
        ValueError: there are no frames.
    """
    path = check_video_path(path)
    with replacing(path) as temporary:
        with _writer(temporary, fps) as writer:
            for frame in frames:
                writer.append_data(_even(enlarge(frame, VIDEO_SIDE)))
        if not temporary.exists():
            raise ValueError(f"{path}: no frames to write")


def check_video_path(path: str | Path) -> Path:
    """The path, or a UserError where `write_video` knows no such format."""
    path = Path(path)
    if path.suffix not in FORMATS:
        known = " or ".join(FORMATS)
        raise UserError(f"{path}: a video's name ends in {known}, not {path.suffix!r}")
    return path


def _writer(path: Path, fps: float) -> Any:
    if path.suffix == ".gif":
        return imageio.get_writer(path, format="GIF", duration=1000 / fps, loop=0)
    # x264 makes another file with another number of threads, which is that of the cores
    quality = ("-preset", "veryfast", "-crf", "16", "-threads", "1")
    return imageio.get_writer(
        path,
        format="FFMPEG",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        quality=None,  # crf says it
        output_params=[*quality, "-movflags", "+faststart"],
        ffmpeg_log_level="error",
    )


# --- images


def enlarge(images: np.ndarray, side: int) -> np.ndarray:
    """Repeats pixels of [..., H, W, 3] till both H and W are at least `side`."""
    factor = max(1, -(-side // min(images.shape[-3:-1])))
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def difference(true: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    """Half of imagined − true around mid-grey: 128 where both agree; uint8."""
    half = (imagined.astype(np.float32) - true.astype(np.float32)) / 2
    return np.clip(128 + np.round(half), 0, 255).astype(np.uint8)


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


# --- grids


def open_loop_grid(true: np.ndarray, imagined: np.ndarray, context: int) -> np.ndarray:
    """Rows true | imagined | difference, a column for each of B sequences.

    The border says which frames the model has seen (context, which it reconstructs)
    and which it predicts from the actions alone.

    Args:
        true: uint8 [B, T, H, W, 3] from the dataset.
        imagined: uint8 [B, T, H, W, 3] of the model.
        context: how many of the first frames are reconstructions.

    Returns:
        uint8 [T, height, width, 3].
    """
    rows = {
        "true": enlarge(true, TILE_SIDE),
        "imagined": enlarge(imagined, TILE_SIDE),
        "difference": enlarge(difference(true, imagined), TILE_SIDE),
    }
    columns, steps, height, width = rows["true"].shape[:4]
    left = _text_width(rows) + 2 * GAP
    size = (left + columns * _pitch(width), LINE + GAP + 3 * _pitch(height))
    frames = []
    for t in range(steps):
        if t < context:
            title, colour = f"context {t + 1} of {context}", CONTEXT
        else:
            title = f"prediction {t + 1 - context} of {steps - context}"
            colour = PREDICTION
        canvas, draw = _canvas(size)
        _write(draw, (left, GAP), title, colour)
        for row, (name, tiles) in enumerate(rows.items()):
            y = LINE + GAP + row * _pitch(height)
            _write(draw, (GAP, y + height // 2), name)
            for column in range(columns):
                corner = (left + column * _pitch(width), y)
                _paste(canvas, corner, tiles[column, t], colour)
        frames.append(np.asarray(canvas))
    return np.stack(frames)


def dream_grid(frames: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """A row for each member's dream: its image, and the reward it predicts so far.

    The number is the reward of the frame that is shown. All curves share the scale
    that is written above them; the line is zero.

    Args:
        frames: uint8 [K, T, H, W, 3], one dream of each of K members.
        reward: float [K, T], predicted with each frame.

    Returns:
        uint8 [T, height, width, 3].
    """
    tiles = enlarge(frames, TILE_SIDE)
    members, steps, height, width = tiles.shape[:4]
    names = [f"member {member + 1}" for member in range(members)]
    left = _text_width(names) + 2 * GAP
    middle = left + _pitch(width)
    bottom = LINE + GAP + members * _pitch(height)
    bounds = _bounds(reward)
    panel = (CURVE_WIDTH, height + 2 * BORDER)
    video = []
    for t in range(steps):
        canvas, draw = _canvas((middle + CURVE_WIDTH + GAP, bottom))
        _write(draw, (left, GAP), f"dream {t + 1} of {steps}", PREDICTION)
        scale = f"predicted reward, {bounds[0]:.2f} … {bounds[1]:.2f}"
        _write(draw, (middle, GAP), scale, FAINT)
        for member, name in enumerate(names):
            y = LINE + GAP + member * _pitch(height)
            _write(draw, (GAP, y + height // 2 - LINE), name)
            value = f"{reward[member, t]:.2f}"
            _write(draw, (GAP, y + height // 2), value, PREDICTION)
            _paste(canvas, (left, y), tiles[member, t], PREDICTION)
            canvas.paste(_curve(panel, reward[member], t, bounds), (middle, y))
        video.append(np.asarray(canvas))
    return np.stack(video)


def episode_grid(
    frames: Sequence[np.ndarray], rewards: Sequence[np.ndarray]
) -> np.ndarray:
    """Episodes side by side, each above its return so far; a finished one waits.

    Args:
        frames: of N episodes, uint8 [T_i, H, W, 3].
        rewards: of N episodes, float [T_i]: what came with each frame.

    Returns:
        uint8 [max T_i, height, width, 3].
    """
    running_returns = [np.cumsum(reward, dtype=np.float64) for reward in rewards]
    bounds = _bounds(np.concatenate(running_returns))
    steps = max(map(len, frames))
    rows = -(-len(frames) // MAX_COLUMNS)
    columns = -(-len(frames) // rows)
    side = VIDEO_SIDE if len(frames) == 1 else TILE_SIDE
    height, width = enlarge(frames[0][0], side).shape[:2]
    row_pitch = _pitch(height) + LINE + CURVE_HEIGHT + GAP
    size = (GAP + columns * _pitch(width), GAP + rows * row_pitch)
    panel = (width + 2 * BORDER, CURVE_HEIGHT)
    video = []
    for t in range(steps):
        canvas, draw = _canvas(size)
        for i, (images, returns) in enumerate(
            zip(frames, running_returns, strict=True)
        ):
            now = min(t, len(images) - 1)
            x = GAP + i % columns * _pitch(width)
            y = GAP + i // columns * row_pitch
            border = CONTEXT if t < len(images) - 1 else FAINT
            _paste(canvas, (x, y), enlarge(images[now], side), border)
            y += _pitch(height)
            _write(draw, (x, y), f"return {returns[now]:.1f}")
            _write(draw, (x + panel[0], y), f"{now}", FAINT, anchor="ra")
            curve = _curve(panel, returns, now, bounds, steps)
            canvas.paste(curve, (x, y + LINE))
        video.append(np.asarray(canvas))
    return np.stack(video)


# --- drawing


def _canvas(size: tuple[int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    canvas = Image.new("RGB", size, BACKGROUND)
    return canvas, ImageDraw.Draw(canvas)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT_SIZE)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    colour: Colour = TEXT,
    anchor: str = "la",
) -> None:
    draw.text(at, text, colour, font=_font(), anchor=anchor)


def _text_width(texts: Iterable[str]) -> int:
    return round(max(_font().getlength(text) for text in texts))


def _pitch(side: int) -> int:
    """From one tile to the next."""
    return side + 2 * BORDER + GAP


def _paste(
    canvas: Image.Image, corner: tuple[int, int], tile: np.ndarray, colour: Colour
) -> None:
    """Puts a tile in a border of the given colour."""
    height, width = tile.shape[:2]
    frame = Image.new("RGB", (width + 2 * BORDER, height + 2 * BORDER), colour)
    frame.paste(Image.fromarray(tile), (BORDER, BORDER))
    canvas.paste(frame, corner)


def _bounds(values: np.ndarray) -> tuple[float, float]:
    """A range that holds the values and zero, and is not empty."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return (low, high) if high > low else (low, low + 1)


def _curve(
    size: tuple[int, int],
    values: np.ndarray,
    now: int,
    bounds: tuple[float, float],
    steps: int | None = None,
) -> Image.Image:
    """The curve of values[: now + 1], a dot at its end, and a line at zero.

    Drawn at twice the size and reduced, which is how it gets smooth.
    """
    width, height = 2 * size[0], 2 * size[1]
    margin = 16
    low, high = bounds
    x = np.linspace(margin, width - margin, max(2, steps or len(values)))

    def vertical(value: float) -> float:
        return height - margin - (value - low) / (high - low) * (height - 2 * margin)

    image = Image.new("RGB", (width, height), PANEL)
    draw = ImageDraw.Draw(image)
    draw.line([(margin, vertical(0)), (width - margin, vertical(0))], FAINT, 2)
    points = [(x[i], vertical(values[i])) for i in range(now + 1)]
    draw.line(points, PREDICTION, 4, joint="curve")
    draw.circle(points[-1], 7, PREDICTION)
    return image.resize(size, Image.Resampling.LANCZOS)
