"""What the machine ran out of, memory or disk, told from exceptions in one line."""

from collections.abc import Sequence

from vd4rl_loader.errors import disk_trouble

# What lowers the memory that a section of the configuration asks for: keys that may
# change while a run goes on, and those that make another run of it. An algorithm says
# its own; "" is any section.
_FREE = {
    "latent": ("--data.placement host", "--latent.remat true"),
    "ensemble": (),
    "": ("--data.placement host", "--latent.remat true"),
}
_OTHER = {
    "latent": ("latent.batch", "latent.length"),
    "ensemble": ("ensemble.batch", "ensemble.units"),
    "": ("latent.batch", "latent.length", "seeds"),
}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had too little memory."""
    # by its name: the commands ask before JAX is imported
    by_xla = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    refused = by_xla and any(
        sign in str(error) for sign in ("RESOURCE_EXHAUSTED", "Out of memory")
    )
    return refused or isinstance(error, MemoryError)


def out_of_memory(
    error: BaseException, section: str = "", sizes: Sequence[str] = ()
) -> str:
    """What to do about it: the keys of which there can be less, `sizes` where they are
    given.
    """
    wanted = " ".join(str(error).split())[:160]
    free = " or ".join(_FREE.get(section, ("--data.placement host",)))
    go_on = f"go on with {free}, or " if free else ""
    other = ", ".join(sizes or _OTHER[section])
    other = f"start another --logdir with a smaller {other}"
    return f"out of memory ({wanted}): {go_on}{other}"


def shortage(error: BaseException) -> str | None:
    """The line for an exception that the machine is to blame for, else None."""
    if is_out_of_memory(error):
        return out_of_memory(error)
    return disk_trouble(error)
