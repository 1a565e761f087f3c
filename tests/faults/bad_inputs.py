"""Tries bad inputs of every kind, and prints how the commands ended.

    python tests/faults/bad_inputs.py --count 400 --seed 1

Inputs are small valid ones with random damage, and files made to do harm. Each is tried
in a folder and a process of its own. Exit code 1 where a command did what it must not.
"""

import argparse
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", help="only kinds whose name contains this")
    parser.add_argument("--number", type=int, help="only this input of the kind")
    parser.add_argument("-v", action="store_true", help="print every outcome")
    args = parser.parse_args()
    kinds = [kind for kind in KINDS if (args.kind or "") in kind]
    numbers = range(-(-args.count // len(kinds)))
    if args.number is not None:
        numbers = [args.number]
    found: dict[str, Counter] = defaultdict(Counter)
    slowest, largest = 0.0, 0
    start = time.monotonic()
    run = Path(tempfile.mkdtemp())
    sandbox.in_child(lambda: bad_runs.make_run(run))
    for number in numbers:
        for kind in kinds:
            what, outcome = _one(kind, number, args.seed, run)
            found[kind][outcome.word] += 1
            slowest = max(slowest, outcome.seconds)
            largest = max(largest, outcome.grown)
            if outcome.fault or args.v:
                print(f"--- {kind} {number}: {what}: {outcome.word}")
                print(outcome.said.strip()[-2000:])
                print(outcome.fault[-2500:], flush=True)
    print(f"{'kind':26}" + "".join(f"{word:>9}" for word in WORDS))
    for kind, counts in found.items():
        print(f"{kind:26}" + "".join(f"{counts[word]:9}" for word in WORDS))
    total = sum(found.values(), Counter())
    print(f"{'all':26}" + "".join(f"{total[word]:9}" for word in WORDS))
    print(
        f"slowest {slowest:.1f} s, largest growth {largest / 1e6:,.0f} MB, "
        f"{time.monotonic() - start:.0f} s in all"
    )
    shutil.rmtree(run)
    return int(total["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main())
