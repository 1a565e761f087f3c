from dreamer_leq.training.checkpoints import SharedCheckpoints  # noqa: F401
