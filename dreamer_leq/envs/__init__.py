"""Real environments, in which policies are scored. Nothing here imports JAX."""
