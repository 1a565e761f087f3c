"""Folders of policies from which datasets are collected."""

import json

import numpy as np


def save_policies(folder, medium=1, expert=2, sizes=(24, 6)):
    """A folder in the format of the bundled ones, with silent policies."""
    for steps in (1, 2):
        weight, bias = np.zeros((sizes[0], 2 * sizes[1])), np.zeros(2 * sizes[1])
        np.savez(folder / f"{steps:07d}.npz", w0=weight, b0=bias)
    levels = {"medium": medium, "expert": expert}
    (folder / "returns.json").write_text(json.dumps(levels))
    return folder
