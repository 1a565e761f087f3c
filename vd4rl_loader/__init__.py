"""Datasets of pixels and state vectors: reading, checking, collecting. No JAX."""

from vd4rl_loader.dataset import Dataset, DatasetSpec, open_dataset
from vd4rl_loader.errors import DataError
from vd4rl_loader.resize import resize_images
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.writing import write_dataset

__all__ = [
    "DataError",
    "Dataset",
    "DatasetSpec",
    "RenderStyle",
    "open_dataset",
    "resize_images",
    "write_dataset",
]
