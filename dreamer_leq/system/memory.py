"""Host memory that is there to be taken: the machine's, or what a container or `ulimit`
leaves.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# By version of control groups: limit, use, and what of the use are pages of files that
# the kernel would give back, as fields of memory.stat.
_LIMITS = {
    2: ("memory.max", "memory.current", ("inactive_file", "active_file")),
    1: (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
}


def available_memory(root: str | Path = "/") -> int:
    """Bytes that this process can take without swapping: files that lie in memory only
    because they were read, such as a dataset's cache, count as free.

    root: where /proc and /sys are, for tests.
    """
    root = Path(root)
    fields = dict(
        line.split(":") for line in (root / "proc/meminfo").read_text().splitlines()
    )
    machine = 1024 * int(fields["MemAvailable"].split()[0])
    return max(0, min([machine, *_left_by_limit(root), *_left_in_groups(root)]))


def _left_by_limit(root: Path) -> Iterator[int]:
    """Bytes that `ulimit -d` leaves this process for what is in no file."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/self/limits").read_text().splitlines()
        limit = next(line for line in lines if line.startswith("Max data size"))
        status = (root / "proc/self/status").read_text().splitlines()
        used = next(line for line in status if line.startswith("VmData:"))
        yield int(limit.split()[3]) - 1024 * int(used.split()[1])  # or "unlimited"


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes that each control group around this process leaves it."""
    for version, folder in _groups(root):
        limit, use, cached = _LIMITS[version]
        # a group without a limit, or one that hides it
        with contextlib.suppress(OSError, ValueError):
            most = int((folder / limit).read_text())  # or "max"
            stat = dict(map(str.split, (folder / "memory.stat").open()))
            kept = sum(int(stat.get(name, 0)) for name in cached)
            yield most - int((folder / use).read_text()) + kept


def _groups(root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of this process's memory groups, the innermost first."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            version, home = (1, "memory") if controllers else (2, "")
            # inside a container the path may be the host's: then only the top is there
            inner = PurePosixPath(path.lstrip("/"))
            for group in (inner, *inner.parents):
                yield version, root / "sys/fs/cgroup" / home / group
