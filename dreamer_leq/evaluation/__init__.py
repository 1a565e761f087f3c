"""Scores in the real environment, and videos of what the agent sees and dreams."""
