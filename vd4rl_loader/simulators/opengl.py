"""OpenGL: the library dm_control renders with, and whether that works here."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from types import ModuleType

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.workers import launch

# MUJOCO_GL -> the library it needs, and the Debian packages that bring it and a
# software renderer for machines without a GPU.
_LIBRARIES = {
    "egl": ("libEGL.so.1", "libegl1 libgl1 libgl1-mesa-dri"),
    "osmesa": ("libOSMesa.so.8", "libosmesa6 libgl1"),
    "glfw": ("libGL.so.1", "libgl1 libgl1-mesa-dri"),
}
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")


def choose_renderer() -> None:
    """What MuJoCo and dm_control render with, before either is imported: EGL, which
    needs no screen and runs on GPUs and in software, unless MUJOCO_GL says otherwise.
    """
    if sys.platform.startswith("linux"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def load_suite() -> ModuleType:
    """dm_control's suite, which takes the renderer that is chosen when dm_control is
    first imported in a process. OpenGL must not be imported before dm_control, or EGL
    finds no display.
    """
    choose_renderer()
    # dm_control's own models use options that MuJoCo calls deprecated, and absl says so
    # once per environment.
    logging.getLogger("absl").setLevel(logging.ERROR)
    from dm_control import suite

    return suite


def check_rendering() -> str:
    """Renders one frame in a fresh process, which takes a second or two.

    Returns:
      The library and the renderer: "EGL, llvmpipe (software)".

    Raises:
      DataError: rendering fails: names the missing library and its Debian package.
    """
    process = launch(
        "from vd4rl_loader.simulators.opengl import probe; print(probe())",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, errors = process.communicate()
    if process.returncode:
        detail = (errors.strip().splitlines() or ["no message"])[-1]
        raise DataError(_explain(os.environ.get("MUJOCO_GL", "egl"), detail))
    return output.strip().splitlines()[-1]


def probe() -> str:
    """Renders one frame in this process and names what rendered it."""
    physics = load_suite().load("cartpole", "balance").physics
    physics.render(8, 8, camera_id=0)
    from dm_control import _render
    from OpenGL import GL

    with physics.contexts.gl.make_current() as context:
        renderer = context.call(GL.glGetString, GL.GL_RENDERER).decode()
    devices = 1
    if _render.BACKEND == "egl":
        from dm_control._render.pyopengl import egl_ext

        devices = len(egl_ext.eglQueryDevicesEXT())
    return _describe(_render.BACKEND, renderer, devices)


def _describe(backend: str, renderer: str, devices: int) -> str:
    software = any(word in renderer.lower() for word in _SOFTWARE)
    name = renderer.split(" (")[0].split("/")[0]
    found = f"{backend.upper()}, {name} ({'software' if software else 'GPU'})"
    if devices == 1:
        return found
    chosen = os.environ.get("MUJOCO_EGL_DEVICE_ID")
    which = f"device {chosen}" if chosen else "the first that works"
    return (
        f"{found}, {which} of {devices} devices: MUJOCO_EGL_DEVICE_ID=N takes another"
    )


def _explain(backend: str, detail: str) -> str:
    library, packages = _LIBRARIES.get(backend, (None, None))
    if library is None:
        return f"cannot render with MUJOCO_GL={backend}: {detail}"
    install = f"on Debian or Ubuntu: apt-get install {packages}"
    if not _loads(library):
        return f"cannot render: {library} is missing (MUJOCO_GL={backend}); {install}"
    lacks = "screen" if backend == "glfw" else "GPU driver or software renderer"
    return (
        f"cannot render with MUJOCO_GL={backend}: {library} is there but finds no "
        f"{lacks} ({detail}); {install}"
    )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
