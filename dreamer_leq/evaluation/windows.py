"""Sequences of a dataset in which a world model is to predict what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamer_leq.system.errors import UserError


@dataclass(frozen=True)
class Windows:
    """B sequences of context + H entries, each of another episode.

    Attributes:
      arrays: observations, action, reward and is_first, [B, context + H, ...] in
        arrival order; is_first at the first entry of each.
      context: entries that the world model sees before it goes on alone.
    """

    arrays: dict[str, np.ndarray]
    context: int

    def __len__(self) -> int:
        return len(self.arrays["action"])

    @property
    def horizon(self) -> int:
        return self.arrays["action"].shape[1] - self.context


def draw_windows(
    dataset: Any,
    observations: Sequence[str],
    reward: np.ndarray,
    *,
    context: int,
    horizon: int,
    count: int,
) -> Windows:
    """One sequence, anywhere in its episode, of each of `count` episodes.

    They are spread evenly over the dataset, since files are often sorted by the policy
    that made them. Episodes that are too short are passed over; where fewer than two
    are long enough, H is smaller.

    Args:
      dataset: with offsets [E + 1] and arrays [N, ...], as the loader opens it.
      observations: names of the arrays that the world model reads.
      reward: [N], as the world model predicts it.

    Raises:
      UserError: no episode has more than `context` entries.
    """
    offsets = np.asarray(dataset.offsets)
    lengths = np.diff(offsets)
    length = min(context + horizon, np.sort(lengths)[-2:][0])
    if length <= context:
        raise UserError(
            f"video.context: {context} entries of context, but the dataset's episodes "
            f"have {lengths.max()} at most"
        )
    fitting = np.flatnonzero(lengths >= length)
    picks = np.linspace(0, len(fitting) - 1, min(count, len(fitting))).astype(int)
    episodes = fitting[picks]
    slack = lengths[episodes] - length
    first = offsets[episodes] + np.random.default_rng(0).integers(slack + 1)
    rows = first[:, None] + np.arange(length)
    arrays = {name: getattr(dataset, name)[rows] for name in (*observations, "action")}
    arrays["reward"] = reward[rows]
    arrays["is_first"] = np.broadcast_to(np.arange(length) == 0, rows.shape)
    return Windows(arrays, context)
