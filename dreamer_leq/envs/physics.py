"""The state of a MuJoCo simulation, to be taken and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco


def get_state(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """All that its next steps depend on, float64 [P]."""
    import mujoco

    whole = mujoco.mjtState.mjSTATE_INTEGRATION.value
    state = np.empty(mujoco.mj_stateSize(model, whole))
    mujoco.mj_getState(model, data, state, whole)
    return state


def set_state(model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray) -> None:
    """Goes on from what `get_state` gave."""
    import mujoco

    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION.value)
