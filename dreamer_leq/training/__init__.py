"""Phases, the loop that runs them, and what it leaves behind in the run folder."""
