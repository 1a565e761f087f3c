"""Draws a dm_control task in a render style, in about a quarter of dm_control's time.

In software nearly all of a frame's time goes into what hardly shows at the sizes that
models look at: a map of 2048×2048 shadow depths that the floor fills, and thousands of
triangles smaller than a pixel, drawn in up to four passes. Here the map is smaller, the
floor, which has nothing to cast a shadow on, stays out of it, and round shapes have
fewer triangles. docs/performance.md says what each of these brings, and how little the
picture changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vd4rl_loader.simulators.render import RenderStyle

if TYPE_CHECKING:
    from dm_control.mujoco import Physics, wrapper

# At most, whatever a style or a model asks for. The slices around a shape's axis stay:
# fewer of them would change outlines and highlights.
SHADOW_MAP = 512  # edge in texels
STACKS = 6  # rings of triangles along a shape's axis; MuJoCo's own number is 16


class StyledCamera:
    """A task's camera with an OpenGL context of its own, for any environment of it."""

    def __init__(self, model: wrapper.MjModel, style: RenderStyle) -> None:
        """Makes the context, which takes a tenth of a second.

        Args:
          model: of the task; its visual settings are changed.
          style: of the frames, with a camera that the model has.
        """
        import mujoco
        from dm_control import _render
        from dm_control.mujoco import wrapper

        quality, buffer = model.vis.quality, model.vis.global_
        quality.offsamples = style.antialias
        quality.shadowsize = min(style.shadows, SHADOW_MAP)
        quality.numstacks = min(quality.numstacks, STACKS)
        # Parts of the buffer are cleared as a whole.
        buffer.offwidth = buffer.offheight = style.size
        self._gl = _render.Renderer(style.size, style.size)
        self._context = wrapper.MjrContext(model, self._gl)
        self._heights = model.hfield_data.copy()
        self._scene = wrapper.MjvScene(model)
        self._shadows = style.shadows > 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = style.reflections
        self._option = wrapper.MjvOption()
        self._camera = wrapper.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = style.camera
        self._frame = mujoco.MjrRect(0, 0, style.size, style.size)
        self._pixels = np.empty((style.size, style.size, 3), np.uint8)

    def draw(self, physics: Physics) -> np.ndarray:
        """The present view of an environment of the task, as uint8 [S, S, 3]."""
        import mujoco

        mujoco.mjv_updateScene(
            physics.model.ptr,
            physics.data.ptr,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        if self._shadows:
            self._keep_floors_from_casting()
        with self._gl.make_current() as gl:
            gl.call(self._render, physics.model)
        return self._gl.to_pixels(self._pixels).copy()  # its first row is the lowest

    def _keep_floors_from_casting(self) -> None:
        import mujoco

        # Lights are above the floor: it could only darken what it hides. MuJoCo lets
        # everything cast a shadow that is not decoration.
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.type == mujoco.mjtGeom.mjGEOM_PLANE:
                geom.category = mujoco.mjtCatBit.mjCAT_DECOR

    def _render(self, model: wrapper.MjModel) -> None:
        import mujoco

        context = self._context.ptr
        if not np.array_equal(model.hfield_data, self._heights):
            # Some tasks make new ground for every episode.
            self._heights = model.hfield_data.copy()
            for field in range(model.nhfield):
                mujoco.mjr_uploadHField(model.ptr, context, field)
        mujoco.mjr_render(self._frame, self._scene, context)
        mujoco.mjr_readPixels(self._pixels, None, self._frame, context)
