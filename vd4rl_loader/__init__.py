"""Pixel datasets of V-D4RL's formats: reading, checking, collecting. No JAX."""

from vd4rl_loader.dataset import Dataset, DatasetSpec, open_dataset
from vd4rl_loader.errors import DataError
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.render import RenderStyle

__all__ = [
    "DataError",
    "Dataset",
    "DatasetSpec",
    "RenderStyle",
    "open_dataset",
    "resize_images",
]
