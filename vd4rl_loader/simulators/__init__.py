"""The simulators that record and score, and their pictures."""
