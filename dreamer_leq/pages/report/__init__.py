"""One page about a run: its scores, curves and videos, and how far to trust them."""
