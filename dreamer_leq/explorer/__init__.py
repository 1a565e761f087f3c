"""Looking into a run's imagination and steering it: moments, dreams, and their page."""
