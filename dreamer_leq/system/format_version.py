from dreamer_leq.system.files import FORMAT, refuse_newer  # noqa: F401
