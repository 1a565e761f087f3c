"""What the state environments hand out: one entry of an episode in arrival order."""

from __future__ import annotations

import numpy as np

Observation = dict[str, np.ndarray | np.generic]


def make_observation(
    vector: np.ndarray | None,
    image: np.ndarray | None = None,
    *,
    reward: float = 0.0,
    first: bool = False,
    last: bool = False,
    terminal: bool = False,
    success: bool | None = None,
) -> Observation:
    """An observation with the types that models and `VectorEnv` expect.

    Args:
      vector: the state, [D] of any float type; None leaves it out.
      image: uint8 [S, S, 3] of an environment that is filmed; None leaves it out.
      reward: what came with this state.
      first, last: whether the episode begins or ends here.
      terminal: whether it ends because the task does, not because of the clock.
      success: of a task whose score is not its reward, whether it was done with this
        step; None leaves it out.
    """
    observation: Observation = {
        "reward": np.float32(reward),
        "is_first": np.bool_(first),
        "is_last": np.bool_(last),
        "is_terminal": np.bool_(terminal),
    }
    if vector is not None:
        observation["vector"] = np.asarray(vector, np.float32)
    if success is not None:
        observation["success"] = np.float32(success)
    return observation if image is None else {**observation, "image": image}
