"""Tries bad inputs of every kind, and prints how the commands ended.

    python benchmarks/faults/bad_inputs.py --count 400 --seed 1

Inputs are small valid ones with random damage, and files made to do harm. Each is tried
in a folder and a process of its own. Exit code 1 where a command did what it must not.
"""

import argparse
import contextlib
import itertools
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/vd4rl_loader"), str(ROOT)]

import bad_data  # noqa: E402
import bad_runs  # noqa: E402
import hostile_data  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import sandbox  # noqa: E402
from sandbox import Outcome  # noqa: E402

from vd4rl_loader.__main__ import main as loader  # noqa: E402

KINDS = {**bad_data.KINDS, **hostile_data.KINDS, **bad_runs.KINDS}
WORDS = ("refused", "taken", "fault")


def tried(
    kind: str, number: int, seed: int, folder: Path, run: Path | None
) -> tuple[str, Outcome]:
    """What was done to input `number` of a kind, and how the command ended.

    Args:
      kind: one of `KINDS`.
      number: of the input; it decides with `seed` what is done.
      seed: of the random damage.
      folder: an empty one.
      run: a folder that `bad_runs.make_run` has filled; only its kinds need it.
    """
    rng = np.random.default_rng([seed, number, *kind.encode()])
    main = loader
    if kind in bad_runs.KINDS:
        shutil.copytree(run, folder, dirs_exist_ok=True)
    what, arguments = KINDS[kind](folder, rng, number)
    if kind in bad_runs.KINDS:
        main = bad_runs.main_of(kind, arguments)
    return what, sandbox.attempt(main, arguments, folder)


def _one(kind: str, number: int, seed: int, run: Path) -> tuple[str, Outcome]:
    def work() -> tuple[str, Outcome]:
        if kind in bad_runs.KINDS:
            jax.devices()  # not before the fork, which its threads don't survive
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            return tried(kind, number, seed, Path(folder), run)

    return sandbox.in_child(work)


class Tally:
    """How the inputs of each kind ended."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._found: dict[str, Counter] = defaultdict(Counter)
        self._slowest, self._largest = 0.0, 0

    def add(self, kind: str, outcome: Outcome) -> None:
        self._found[kind][outcome.word] += 1
        self._slowest = max(self._slowest, outcome.seconds)
        self._largest = max(self._largest, outcome.grown)

    @property
    def total(self) -> Counter:
        return sum(self._found.values(), Counter())

    def print(self) -> None:
        print(f"{'kind':26}" + "".join(f"{word:>9}" for word in WORDS))
        for kind, counts in (*self._found.items(), ("all", self.total)):
            print(f"{kind:26}" + "".join(f"{counts[word]:9}" for word in WORDS))
        print(
            f"slowest {self._slowest:.1f} s, "
            f"largest growth {self._largest / 1e6:,.0f} MB, "
            f"{time.monotonic() - self._start:.0f} s in all"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", default="", help="only kinds that this matches")
    parser.add_argument("--number", type=int, help="only this input of each kind")
    parser.add_argument("-v", action="store_true", help="print every outcome")
    return parser.parse_args()


def main() -> int:
    args = _arguments()
    kinds = [kind for kind in KINDS if re.search(args.kind, kind)]
    numbers = range(-(-args.count // len(kinds)))
    if args.number is not None:
        numbers = [args.number]
    tally = Tally()
    with tempfile.TemporaryDirectory() as run, contextlib.suppress(KeyboardInterrupt):
        sandbox.in_child(lambda: bad_runs.make_run(Path(run)))
        for number, kind in itertools.product(numbers, kinds):
            what, outcome = _one(kind, number, args.seed, Path(run))
            tally.add(kind, outcome)
            if outcome.fault or args.v:
                print(f"--- {kind} {number}: {what}: {outcome.word}")
                print(outcome.said.strip()[-2000:])
                print(outcome.fault[-2500:], flush=True)
    tally.print()
    return int(tally.total["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main())
