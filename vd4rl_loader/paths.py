"""Paths as people write them, on command lines and in calls."""

from __future__ import annotations

import argparse
import os
import re

WORDS = "a path on this machine, in printable characters"
_LONGEST_NAME, _LONGEST = 255, 4095  # bytes


def is_path(text: str) -> bool:
    """Whether a file system takes such a path, and a terminal shows it."""
    if not text.isprintable() or re.match(r"[\w+.-]+://", text):
        return False
    longest = max(len(name.encode()) for name in text.split("/"))
    return longest <= _LONGEST_NAME and len(text.encode()) <= _LONGEST


def expanded(text: str) -> str:
    """The path with its `~` written out."""
    return os.path.expanduser(text)


def path_argument(text: str) -> str:
    """A path of a command line, for argparse."""
    if not is_path(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {WORDS}")
    return expanded(text)
