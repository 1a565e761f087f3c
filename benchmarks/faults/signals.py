"""Signals while a run encodes, evaluates and writes videos.

    nice python benchmarks/faults/signals.py

Each stops the smallest run on pixels at one of these points, and prints how long the
run took to end; it has to end with the signal's code, and when it goes on, as a run
that was never stopped. Exits with 1 otherwise.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from kill import RUNS, Place

# What has been printed when it begins.
MOMENTS = {
    "encoding": "world_model 20/20",
    "first evaluation": "fqe 10/10",
    "last evaluation": "leq 20/20",
    "videos": "writing imagined videos",
}
# As schedulers, users and terminals send them.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def stopped(place: Place, sign: str, signum: int) -> float:
    """Seconds to the end after a signal to the whole group, as a terminal sends it."""
    process = place.start()
    while sign not in (place.path / "stdout.txt").read_text():
        assert process.poll() is None, "ended too early"
        time.sleep(0.005)
    time.sleep(0.2)
    start = time.monotonic()
    os.killpg(process.pid, signum)
    code = process.wait(300)
    if code != 128 + signum:
        place.faults.append(f"exit code {code}")
    if "saved - the same command goes on" not in place.said():
        place.faults.append(f"said: {place.said()[-200:]}")
    return time.monotonic() - start


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = folder / "cache"

        def new_place(name: str) -> Place:
            (folder / name).mkdir()
            return Place(folder / name, cache, RUNS["pixel"])

        whole = new_place("whole")
        whole.finish()
        expected = whole.result()
        for i, (moment, sign) in enumerate(MOMENTS.items()):
            place = new_place(f"stopped-{i}")
            signum = SIGNALS[i % len(SIGNALS)]
            seconds = stopped(place, sign, signum)
            said = place.said().splitlines()[-1]
            place.finish()
            found = place.result()
            place.faults += [
                f"another {k}" for k in expected if expected[k] != found[k]
            ]
            failed += bool(place.faults)
            name = signal.Signals(signum).name
            print(f"{moment}: {name}, ended after {seconds:.1f} s: {said}", flush=True)
            for fault in place.faults:
                print(f"  ! {fault}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
