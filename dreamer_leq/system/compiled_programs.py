"""Compiled programs that outlive their process, in the user's cache folder.

A run that goes on, or is scored, then starts at once. Entries are by program, versions
and processor.
"""

import contextlib
import os
import time
import zlib
from pathlib import Path

LIMIT = 2**30  # bytes: programs have about one MB, a run has a dozen


def keep_compiled_programs() -> None:
    """Let JAX keep what took long to compile, before it is imported.

    JAX's own variables go first. A folder that they name is not ours to trim.
    """
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home, "dreamer_leq/jax")
    if not _is_ours(folder):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    remove_torn(folder)
    trim(folder, LIMIT)


def _is_ours(folder: Path) -> bool:
    """Whether it can be written to, and is not beside a home that nobody knows."""
    with contextlib.suppress(OSError):
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
            return os.access(folder, os.W_OK | os.X_OK)
    return False


def remove_torn(folder: Path) -> None:
    """Delete entries that a killed process left half-written.

    JAX would compile such a program and warn at every start, and never replace it. Only
    what was written since the last look is looked at.
    """
    checked, now = folder / ".checked", time.time()
    with contextlib.suppress(OSError):  # not there yet, or not ours to write to
        since = checked.stat().st_mtime if checked.exists() else 0.0
        for path in folder.glob("*-cache"):
            stat = path.stat()
            if stat.st_mtime < since:
                continue
            if _is_torn(path.read_bytes()):
                path.unlink()
            else:  # not used, only looked at
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        checked.touch()
        os.utime(checked, (now, now))


def _is_torn(entry: bytes) -> bool:
    """Whether a compressed program ends early."""
    if entry.startswith(b"\x28\xb5\x2f\xfd"):  # Zstandard, where JAX finds it
        return _is_torn_zstd(entry)
    try:
        zlib.decompress(entry)
    except zlib.error:
        return True
    return False


def _is_torn_zstd(entry: bytes) -> bool:
    try:
        from compression.zstd import ZstdError, decompress  # Python 3.14
    except ImportError:
        try:
            import zstandard
        except ImportError:
            return False
        ZstdError = zstandard.ZstdError
        decompress = zstandard.ZstdDecompressor().decompress
    try:
        decompress(entry)
    except ZstdError:
        return True
    return False


def trim(folder: Path, limit: int) -> None:
    """Delete the programs used longest ago, until `limit` bytes are left.

    JAX has a limit too (jax_compilation_cache_max_size). As of 0.10.1, one entry
    without its time stamp, as a killed process leaves it and as all are that were
    stored without a limit, keeps it from storing anything more (jax-ml/jax#39880).
    """
    found = []
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # another process was faster
            stat = path.stat()
            # not every file system notes when a file is read
            used = max(stat.st_atime_ns, stat.st_mtime_ns)
            found.append((used, stat.st_size, path))
    surplus = sum(size for _, size, _ in found) - limit
    for _, size, path in sorted(found):
        if surplus <= 0:
            return
        with contextlib.suppress(OSError):
            path.unlink()
        surplus -= size
