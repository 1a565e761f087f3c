"""What the machine ran out of, memory or disk, told from exceptions in one line."""

from vd4rl_loader.errors import disk_trouble

# What lowers the memory that a phase needs: keys that may change while a run goes on,
# and those that make another run of it.
_FREE = {
    "world_model": ("--data.placement host", "--latent.remat true"),
    "": ("--data.placement host", "--latent.remat true"),
}
_OTHER = {
    "world_model": ("latent.batch", "latent.length", "ensemble.batch"),
    "bc": ("bc.batch",),
    "fqe": ("fqe.batch",),
    "leq": ("leq.batch", "leq.horizon", "expansion.starts", "seeds"),
    "": ("latent.batch", "latent.length", "leq.batch", "leq.horizon", "seeds"),
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had too little memory."""
    # by its name: the commands ask before JAX is imported
    by_xla = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    refused = by_xla and any(
        sign in str(error) for sign in ("RESOURCE_EXHAUSTED", "Out of memory")
    )
    return refused or isinstance(error, MemoryError)


def out_of_memory(error: BaseException, phase: str = "") -> str:
    """What to do about it: the keys that `phase`, or without one any, can do with less
    of.
    """
    free = " or ".join(_FREE.get(phase, ("--data.placement host",)))
    other = ", ".join(_OTHER[phase])
    wanted = " ".join(str(error).split())[:160]
    return (
        f"out of memory ({wanted}): go on with {free}, or start another --logdir with "
        f"a smaller {other}"
    )


def shortage(error: BaseException) -> str | None:
    """The line for an exception that the machine is to blame for, else None."""
    if is_out_of_memory(error):
        return out_of_memory(error)
    return disk_trouble(error)
