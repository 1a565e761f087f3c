"""What the report of a run and the comparison of runs share: frame, style and plots."""
