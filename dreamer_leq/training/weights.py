"""The networks of a phase for others, in a safetensors file: what loading a run reads
of a checkpoint, and neither optimisers nor random keys.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import FORMAT, refuse_newer, replacing
from dreamer_leq.training.trees import kinds, mismatch, named, placed, refuse_other
from vd4rl_loader.files.tensors import Tensors, declared
from vd4rl_loader.files.validation import BadFileError

_ABOUT = "dreamer_leq"  # the text of the file that says what it is of


@dataclass(frozen=True)
class Weights:
    """The weights in a file, which nobody has to vouch for."""

    file: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """`step`, the updates behind them; `over`, whether these were all; `subtree`,
        the field of the state that they are. Raises UserError.
        """
        texts = self._declared.about
        try:
            found = json.loads(texts[_ABOUT])
            version, step = found.pop("format"), found["step"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise UserError(f"{self.file}: is not of dreamer-leq") from None
        refuse_newer(version, str(self.file))
        if type(step) is not int or step < 0:
            raise UserError(f"{self.file}: is of update {str(step)[:20]!r}")
        return found

    @property
    def step(self) -> int:
        return self.about["step"]

    def restore(self, expected: Any, subtree: str | None) -> tuple[Any, dict[str, Any]]:
        """The arrays, as `Checkpoints.restore` gives them; without `expected` by name.

        What the file declares is compared before any of it is read. Raises UserError.
        """
        where = f"checkpoint {self.file}"
        if self.about.get("subtree") != subtree:
            raise mismatch(where, f"lacks {subtree or 'the state'}", 1)
        if expected is not None:
            found = {name: _kind(*kind) for name, kind in self._declared.stored.items()}
            refuse_other(kinds(expected), found, where)
        try:
            arrays = self._declared.read()
        except BadFileError as error:
            raise UserError(f"{self.file}: {error}") from None
        if expected is None:
            return arrays, self.about
        leaves = [arrays[name] for name in named(expected)]
        tree = jax.tree.unflatten(jax.tree.structure(expected), leaves)
        return jax.tree.map(placed, tree, expected), self.about

    @cached_property
    def _declared(self) -> Tensors:
        try:
            return declared(self.file)
        except BadFileError as error:
            raise UserError(f"{self.file}: {error}") from None


def write_weights(file: Path, tree: Any, about: dict[str, Any]) -> None:
    """Writes a tree of arrays. Raises UserError where safetensors is missing."""
    try:
        from safetensors.numpy import save
    except ImportError:
        raise UserError(
            "sharing needs safetensors: pip install 'dreamer-leq[share]'"
        ) from None
    # a copy: the engine writes memory as it lies
    arrays = {name: np.array(leaf, order="C") for name, leaf in named(tree).items()}
    text = json.dumps({"format": FORMAT, **about})
    with replacing(file) as temporary:
        temporary.write_bytes(save(arrays, {_ABOUT: text, "format": "np"}))


def _kind(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype.name}{list(shape)}"
