"""The one resize, for data and evaluation alike."""

import numpy as np
import pytest
from vd4rl_files import episode, stream, write_folder, write_hdf5

from vd4rl_loader import open_dataset, resize_images


def test_images_of_the_right_size_are_left_alone():
    images = episode(0)["image"]
    assert resize_images(images, 16) is images


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)])
def test_leading_axes_are_kept(leading):
    images = np.random.default_rng(0).integers(
        0, 256, (*leading, 84, 84, 3), dtype=np.uint8
    )
    resized = resize_images(images, 64)
    assert resized.shape == (*leading, 64, 64, 3)
    assert resized.dtype == np.uint8
    last = (-1,) * len(leading)
    np.testing.assert_array_equal(resized[last], resize_images(images[last], 64))


@pytest.mark.parametrize(("source", "size"), [(84, 64), (64, 84), (128, 64)])
def test_it_resamples_at_pixel_centres(source, size):
    # A ramp, sampled at pixel centres, stays the same ramp: half a pixel of
    # misalignment would show as an offset of half a step.
    def ramp(n):
        return 40 + 170 * (np.arange(n) + 0.5) / n

    image = np.zeros((source, source, 3), np.uint8)
    image[..., 0] = ramp(source).round()
    image[..., 1] = ramp(source).round()[:, None]
    resized = resize_images(image, size).astype(float)
    inner = slice(4, -4)  # the filter ends at the borders
    expected = np.broadcast_to(ramp(size), (size, size))
    assert np.abs(resized[..., 0] - expected)[inner, inner].max() <= 1
    assert np.abs(resized[..., 1] - expected.T)[inner, inner].max() <= 1
    assert (resized[..., 2] == 0).all()


def test_shrinking_averages_what_it_cannot_show():
    board = np.indices((128, 128)).sum(0) % 2 * 255
    image = np.repeat(board[..., None], 3, -1).astype(np.uint8)
    resized = resize_images(image, 64).astype(float)
    assert np.abs(resized - 127.5).max() < 12


@pytest.mark.parametrize(
    "images",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), "u1"), np.zeros((2, 3, 4, 4), "u1")],
)
def test_other_arrays_are_a_bug(images):
    with pytest.raises(TypeError, match="expected uint8"):
        resize_images(images, 8)


def test_the_loader_resizes_like_evaluation(tmp_path):
    fields = episode(0, size=84)
    write_folder(tmp_path / "npz", [fields])
    write_hdf5(tmp_path / "hdf5" / "1.hdf5", stream([fields]))
    for folder in ("npz", "hdf5"):
        dataset = open_dataset(tmp_path / folder, "walker_walk", log=lambda line: None)
        assert dataset.spec.source_image_size == dataset.spec.render.size == 84
        np.testing.assert_array_equal(
            dataset.image, np.stack([dataset.spec.fit(im) for im in fields["image"]])
        )
