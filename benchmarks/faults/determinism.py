"""The same command twice gives the same run, bit for bit; another seed does not.

    nice python benchmarks/faults/determinism.py

Trains the smallest run on states and on pixels twice with one seed and once with
another, each in a process and a folder of its own: metrics, scores, checkpoints, data
and videos are compared. Exits with 1 where the first two differ, or the third doesn't.
"""

import sys
import tempfile
from pathlib import Path

from kill import PHASES, RUNS, Place

SEEDS = (0, 0, 1)


def results(name: str, folder: Path) -> list[dict[str, str]]:
    """What each of the three runs leaves."""
    found = []
    for i, seed in enumerate(SEEDS):
        path = folder / f"{name}-{i}"
        path.mkdir()
        place = Place(path, folder / "cache", (*RUNS[name], "--seed", str(seed)))
        place.finish()
        assert not place.faults, place.faults
        found.append(place.result())
    return found


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS:
            first, again, other = results(name, Path(folder))
            differing = [key for key in first if first[key] != again.get(key)]
            trained = ["metrics", *(f"checkpoints/{phase}" for phase in PHASES)]
            same = [key for key in trained if first[key] == other[key]]
            failed += bool(differing or same)
            print(f"{name}: {len(first)} things compared")
            print(f"  the same seed: differing {differing or 'none'}")
            print(f"  another seed: the same {same or 'none'} of {trained}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
