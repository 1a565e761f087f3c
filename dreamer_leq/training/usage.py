"""What this process has used so far."""

import resource
import time

import jax

USAGE = ("process_seconds", "peak_memory", "peak_device_memory")

_START = time.monotonic()


def usage() -> dict[str, float]:
    """Seconds since it began, and the most memory it has held, in bytes.

    `peak_device_memory` is that of one accelerator; a CPU has none of its own.
    """
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = {
        "process_seconds": time.monotonic() - _START,
        "peak_memory": float(1024 * kibibytes),
    }
    if device := jax.local_devices()[0].memory_stats():
        used["peak_device_memory"] = float(device["peak_bytes_in_use"])
    return used
