"""The terminal or file that a command writes to."""

from __future__ import annotations

import io
import sys


def accept_any_text() -> None:
    """Where its encoding lacks a character, it gets a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
