"""Long curves with fewer points."""

from collections.abc import Sequence

import numpy as np


def thinned(
    x: Sequence[float], y: Sequence[float], most: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, [N] -> [<= most]: the ends, and of each stretch
    between them the lowest and the highest, so that spikes stay.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= most:
        return x, y
    stretches = np.array_split(np.arange(1, len(x) - 1), max(1, (most - 2) // 2))
    filled = np.where(np.isnan(y), 0.0, y)
    kept = {0, len(x) - 1}
    for rows in stretches:
        kept |= {rows[filled[rows].argmin()], rows[filled[rows].argmax()]}
    index = np.array(sorted(kept))
    return x[index], y[index]
