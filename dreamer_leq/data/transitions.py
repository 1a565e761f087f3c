"""The transitions of a dataset, as states of a world model."""

from collections.abc import Callable

import numpy as np

from dreamer_leq.config import Config
from dreamer_leq.data.latents import LatentData
from dreamer_leq.data.opening import AnyDataset
from dreamer_leq.data.vectors import VectorData
from dreamer_leq.system.devices import ONE_DEVICE, Devices
from dreamer_leq.training.loop import named_key
from dreamer_leq.world_models.interface import WorldModel

Data = LatentData | VectorData


def transition_data(
    world_model: WorldModel,
    config: Config,
    dataset: AnyDataset,
    reward: np.ndarray,
    gamma: float | None,
    log: Callable[[str], None],
    devices: Devices = ONE_DEVICE,
) -> Data:
    """Those of vectors, or of latents, which are encoded the same way for all seeds and
    whoever asks: members of a grid share them.

    reward: [N], as LEQ sees it. gamma: that of the returns, if they are asked for.
    """
    where = (config.data.placement, log, devices)
    if config.world_model == "mlp_ensemble":
        return VectorData(world_model, dataset, reward, gamma, *where)
    key = named_key(0, "latents")
    facts = (dataset, reward, key, gamma, config.latent.length)
    return LatentData(world_model, *facts, *where)
