"""A dataset's entries as the arrays that LEQ's transitions are made of."""

from collections.abc import Sequence

import numpy as np

from dreamer_leq.algorithms.bc import monte_carlo_returns
from vd4rl_loader import Dataset
from vd4rl_loader.states import StateDataset


def entry_arrays(
    dataset: Dataset | StateDataset,
    observations: Sequence[str],
    reward: np.ndarray,
    returns_gamma: float | None,
) -> dict[str, np.ndarray]:
    """Arrays [N, ...] in arrival order, `reward` [N] as LEQ sees it. With
    `returns_gamma`, `return` too: the discounted return that follows each entry.
    """
    names = (*observations, "action", "is_first", "is_terminal")
    arrays = {name: getattr(dataset, name) for name in names}
    arrays["reward"] = reward
    if returns_gamma is not None:
        arrays["return"] = monte_carlo_returns(
            reward, dataset.is_first, dataset.is_terminal, returns_gamma
        )
    return arrays
