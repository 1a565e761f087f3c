"""Pictures of MuJoCo models, for videos of environments that are seen as states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.simulators.opengl import load_suite

if TYPE_CHECKING:
    import mujoco

IMAGE_SIZE = 192  # of videos, pixels of a side


class Picture:
    """Draws a model in any position, without touching the simulation's own data."""

    def __init__(
        self, model: mujoco.MjModel, camera: str, size: int = IMAGE_SIZE
    ) -> None:
        """Prepares to draw; the OpenGL context comes with the first picture.

        Args:
          model: drawn as it is at that time: a site that is moved is seen moved.
          camera: name of one of its cameras.
          size: S, pixels of a side.
        """
        load_suite()  # chooses what is rendered with
        from dm_control.mujoco import Camera, Physics, wrapper

        model.vis.quality.shadowsize = 0  # in software shadows are most of the time
        self._physics = Physics(wrapper.MjData(wrapper.MjModel(model)))
        self._camera = Camera(self._physics, size, size, camera)

    def draw(self, qpos: np.ndarray) -> np.ndarray:
        """The model in position qpos [P], as uint8 [S, S, 3]."""
        import mujoco

        self._physics.data.qpos[:] = qpos
        mujoco.mj_fwdPosition(self._physics.model.ptr, self._physics.data.ptr)
        # Floors that mirror would take Hopper twice as long. The camera draws
        # into a buffer of its own, the next time too: hence the copy.
        plain = {"reflection": False}
        return self._camera.render(render_flag_overrides=plain).copy()

    def close(self) -> None:
        """Frees the rendering context."""
        self._physics.free()
