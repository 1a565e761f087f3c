"""What policies and world models are worth: scores, estimates, errors, videos."""
