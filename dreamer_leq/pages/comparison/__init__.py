"""Several runs beside each other: methods, their scores on tasks, and curves."""
