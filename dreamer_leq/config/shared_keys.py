"""Keys of the configuration on which what runs can share depends."""

from collections.abc import Sequence

# A name that ends in a dot is a section.
WORLD_MODEL_KEYS = (
    *("task", "world_model", "latent.", "ensemble.", "chunks.", "vectors."),
    "frames.",
    "precision",
)


def begins(key: str, names: Sequence[str]) -> bool:
    """Whether a key is one of these, or in one of these sections."""
    return any(key == k or (k[-1] == "." and key.startswith(k)) for k in names)
