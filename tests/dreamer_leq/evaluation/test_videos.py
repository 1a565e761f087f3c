"""Videos read back from their files, and what the grids show."""

import os

import imageio.v2 as imageio
import numpy as np
import pytest

from dreamer_leq import UserError
from dreamer_leq.evaluation import videos
from dreamer_leq.evaluation.videos import (
    check_video_path,
    difference,
    dream_grid,
    enlarge,
    episode_grid,
    open_loop_grid,
    write_video,
)


def flat_frames(steps, height, width):
    """Frames of one grey each, which a codec keeps."""
    grey = np.linspace(40, 210, steps).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (steps, height, width, 3))


def read(path):
    with imageio.get_reader(path) as reader:
        return np.stack(list(reader.iter_data())), reader.get_meta_data()


@pytest.mark.parametrize("suffix", videos.FORMATS)
def test_file_holds_every_frame(tmp_path, suffix):
    frames = flat_frames(9, 64, 64)
    path = tmp_path / "new" / f"video{suffix}"
    write_video(path, frames, fps=10)
    found, meta = read(path)
    assert found.shape == (9, 192, 192, 3)
    np.testing.assert_allclose(found.mean((1, 2, 3)), frames.mean((1, 2, 3)), atol=3)
    if suffix == ".mp4":
        assert meta["codec"] == "h264" and meta["fps"] == 10
        assert meta["pix_fmt"].startswith("yuv420p")
    else:
        assert meta["duration"] == 100 and meta["loop"] == 0
    assert list(path.parent.iterdir()) == [path]


def test_odd_sides_of_an_mp4_are_made_even(tmp_path):
    stripes = np.where(np.arange(259) % 4 < 2, 60, 190).astype(np.uint8)
    frames = np.broadcast_to(stripes[:, None], (3, 301, 259, 3))
    write_video(tmp_path / "odd.mp4", frames)
    found, _ = read(tmp_path / "odd.mp4")
    assert found.shape == (3, 302, 260, 3)
    np.testing.assert_allclose(found[:, :301, :259], frames, atol=6)  # not resized
    np.testing.assert_allclose(found[:, 301:, :259], frames[:, :1], atol=6)


def test_an_mp4_is_the_same_whatever_the_number_of_cores(tmp_path):
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        pytest.skip("there is one core")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    frames = [np.uint8((noise + 5 * i) % 256) for i in range(100)]
    files = [tmp_path / name for name in ("all.mp4", "one.mp4")]
    write_video(files[0], frames)
    os.sched_setaffinity(0, {min(cores)})
    try:
        write_video(files[1], frames)
    finally:
        os.sched_setaffinity(0, cores)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_frames_may_come_one_by_one(tmp_path):
    write_video(tmp_path / "video.mp4", iter(flat_frames(4, 256, 256)))
    assert len(read(tmp_path / "video.mp4")[0]) == 4


def test_unknown_suffix_is_refused_and_named(tmp_path):
    path = tmp_path / "dream.avi"
    with pytest.raises(UserError, match=r"dream\.avi: .*\.mp4 or \.gif, not '\.avi'"):
        write_video(path, flat_frames(2, 64, 64))
    with pytest.raises(UserError):
        check_video_path("dream")


def test_a_failure_leaves_the_old_video(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, flat_frames(3, 64, 64))
    before = path.read_bytes()

    def breaks():
        yield from flat_frames(2, 64, 64)
        raise RuntimeError("renderer")

    with pytest.raises(RuntimeError, match="renderer"):
        write_video(path, breaks())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="no frames"):
        write_video(path, [])


def test_enlarging_repeats_pixels():
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), np.uint8)
    large = enlarge(image, 7)
    assert large.shape == (2, 9, 15, 3)
    np.testing.assert_array_equal(large[:, ::3, ::3], image)
    np.testing.assert_array_equal(large[:, 2::3, 2::3], image)
    assert enlarge(image, 3).shape == image.shape


def test_difference_is_symmetric_around_mid_grey():
    a, b = np.random.default_rng(0).integers(0, 256, (2, 50, 50, 3), np.uint8)
    assert (difference(a, a) == 128).all()
    total = difference(a, b).astype(int) + difference(b, a)
    assert (np.abs(total - 256) <= 1).all()  # 256, less where 255 - 0 is cut off
    black, white = np.uint8([0]), np.uint8([255])
    assert difference(black, white) == 255 and difference(white, black) == 0


def tile(frame, x, y, side=128):
    """The image inside the border of the tile whose corner is x, y."""
    corner_x, corner_y = x + videos.BORDER, y + videos.BORDER
    return frame[corner_y : corner_y + side, corner_x : corner_x + side]


def has_colour(image, colour):
    return (image == np.array(colour)).all(-1).any()


def test_open_loop_shows_true_imagined_and_difference():
    rng = np.random.default_rng(0)
    true, imagined = rng.integers(0, 256, (2, 3, 6, 64, 64, 3), np.uint8)
    grid = open_loop_grid(true, imagined, context=2)
    assert grid.dtype == np.uint8 and len(grid) == 6
    pitch = 128 + 2 * videos.BORDER + videos.GAP
    left = grid.shape[2] - 3 * pitch
    top = grid.shape[1] - 3 * pitch
    rows = true, imagined, difference(true, imagined)
    for t in (0, 5):
        for row, images in enumerate(rows):
            for column in range(3):
                shown = tile(grid[t], left + column * pitch, top + row * pitch)
                np.testing.assert_array_equal(shown[::2, ::2], images[column, t])


def test_open_loop_marks_context_and_prediction():
    images = np.zeros((1, 5, 64, 64, 3), np.uint8)
    grid = open_loop_grid(images, images, context=2)
    for t, frame in enumerate(grid):
        assert has_colour(frame, videos.CONTEXT) == (t < 2)
        assert has_colour(frame, videos.PREDICTION) == (t >= 2)


def test_dream_has_a_row_for_each_member_with_a_growing_curve():
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 64, 64, 3), np.uint8)
    reward = np.linspace(0, 1, 8) * np.array([[1.0], [0.5], [-1.0]])
    grid = dream_grid(frames, reward)
    assert len(grid) == 8
    pitch = 128 + 2 * videos.BORDER + videos.GAP
    panel = grid.shape[2] - videos.CURVE_WIDTH - videos.GAP
    top = grid.shape[1] - 3 * pitch
    reach = []  # of each member's curve: how far right, and its height there
    for t, frame in enumerate(grid):
        for member in range(3):
            y = top + member * pitch
            shown = tile(frame, panel - pitch, y)
            np.testing.assert_array_equal(shown[::2, ::2], frames[member, t])
            curve = frame[y : y + 134, panel : panel + videos.CURVE_WIDTH]
            ys, xs = np.nonzero((curve == videos.PREDICTION).all(-1))
            reach.append((xs.max(), ys[xs == xs.max()].mean()))
    across, height = np.array(reach).reshape(8, 3, 2).transpose(2, 1, 0)
    assert (np.diff(across) > 0).all()
    assert (np.diff(height[:2]) < 0).all() and (np.diff(height[2]) > 0).all()
    assert height[0, -1] < height[1, -1] < height[1, 0] < height[2, -1]


def test_dream_of_constant_reward_can_be_drawn():
    frames = np.zeros((1, 3, 64, 64, 3), np.uint8)
    assert len(dream_grid(frames, np.zeros((1, 3)))) == 3


def test_episodes_of_different_lengths_wait_for_the_longest():
    rng = np.random.default_rng(0)
    lengths = [4, 7, 5, 7, 7, 3]
    frames = [rng.integers(0, 256, (n, 64, 64, 3), np.uint8) for n in lengths]
    grid = episode_grid(frames, [np.ones(n) for n in lengths])
    pitch = 128 + 2 * videos.BORDER + videos.GAP
    # six stand in two rows of three
    assert grid.shape[0] == 7 and grid.shape[2] == videos.GAP + 3 * pitch
    row_pitch = (grid.shape[1] - videos.GAP) // 2
    for t in (0, 3, 6):
        for i, images in enumerate(frames):
            x, y = videos.GAP + i % 3 * pitch, videos.GAP + i // 3 * row_pitch
            expected = images[min(t, len(images) - 1)]
            np.testing.assert_array_equal(tile(grid[t], x, y)[::2, ::2], expected)


def test_running_return_is_drawn():
    frames = [np.zeros((3, 64, 64, 3), np.uint8)]
    low, high = (episode_grid(frames, [np.array(r)]) for r in ([0, 1, 1], [0, 1, 900]))
    assert low.shape == high.shape and len(low) == 3
    assert (low[2] != high[2]).any()
    np.testing.assert_array_equal(low[0], episode_grid(frames, [np.zeros(3)])[0])
