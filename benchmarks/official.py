"""Updates of public code beside ours: on one core, in turns, as ratios.

    python benchmarks/official.py --checkout LEQ LEQ_DV3 --python VENV/bin/python

A checkout is a folder with the code of LEQ (kwanyoungpark/LEQ for state vectors,
kwanyoungpark/LEQ_DV3 for pixels), CORL (corl-team/CORL), OfflineRL-Kit
(yihaosun1124/OfflineRL-Kit), IQL (ikostrikov/implicit_q_learning), ReBRAC (DT6A/ReBRAC)
or V-D4RL (conglu1997/v-d4rl), all on GitHub. The Python that is named imports it as it
is; docs/performance.md says what it needs. Both sides have random weights and data of
the same sizes, and are compiled before the first turn. Ours is run as in training,
many updates a dispatch, and theirs as in theirs. Figures go to OUT/official.json.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tables
from job import in_process
from run import pin
from turns import Side, SideFailed

from dreamer_leq.system.errors import UserError
from dreamer_leq.system.files import write_json

ROOT = Path(__file__).resolve().parents[1]
# by a file of the checkout: the module with its updates, and our cases of the same
KINDS = {
    "algos/leq/learner.py": ("official_state", ("state_leq",)),
    "dreamerv3/model_agent.py": (
        "official_pixels",
        ("world_model_12m", "leq_12m", "reinforce_12m"),
    ),
    "algorithms/offline/td3_bc.py": (
        "official_corl",
        ("state_td3_bc", "state_iql", "state_cql", "state_edac"),
    ),
    "run_example/run_mobile.py": ("official_kit", ("state_mopo", "state_mobile")),
    "value_net.py": ("official_iql", ("state_iql",)),
    "src/algorithms/rebrac.py": ("official_rebrac", ("state_rebrac",)),
    "drqbc/drqv2.py": ("official_drq", ("frames_drq_bc",)),
}


class Asked(NamedTuple):
    """A case, and whose update it is compared with."""

    case: str
    module: str
    checkout: Path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parse(argv)
        asked = [each for path in args.checkout for each in cases(path)]
        asked = chosen(asked, args.only)
        python = executable(args.python)
        pin(1)
        about = {"command": shlex.join(["python", "benchmarks/official.py", *argv])}
        about |= {"load": os.getloadavg(), "machine": in_process("device")}
        rows = []
        for each in asked:
            rows.append(compared(each, python, args))
            write_json(args.out / "official.json", about | {"rows": rows})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tables.show(tables.against_official(rows, about["machine"]))
    return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags. Raises UserError for those that can't be."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, now = parser.add_argument, time.strftime("%Y-%m-%dT%H-%M-%S")
    add("--checkout", nargs="+", type=Path, required=True, help="one or several")
    add("--python", required=True, help="that runs this code")
    add("--only", nargs="+", help="cases")
    add("--sequences", type=int, default=2, help="of 16 steps, from pixels (2)")
    add("--turns", type=int, default=7, help="of each side (7)")
    add("--seconds", type=float, default=2.0, help="of each turn, about (2)")
    add("--out", type=Path, default=Path("runs/benchmarks", now), help="folder")
    args = parser.parse_args(argv)
    for name, least in {"sequences": 1, "turns": 1, "seconds": 0}.items():
        if (value := getattr(args, name)) < least:
            raise UserError(f"--{name}: has to be at least {least}, got {value}")
    return args


def cases(checkout: Path) -> list[Asked]:
    """Those that the code in the folder can be compared in. Raises UserError."""
    for file, (module, names) in KINDS.items():
        if (checkout / file).is_file():
            return [Asked(name, module, checkout.resolve()) for name in names]
    files = " nor ".join(KINDS)
    raise UserError(f"--checkout: {checkout}: none of this code, neither {files}")


def chosen(asked: list[Asked], only: list[str] | None) -> list[Asked]:
    """Those of the cases in `only`, or all. Raises UserError."""
    names = {each.case for each in asked}
    if unknown := set(only or ()) - names:
        known = ", ".join(sorted(names))
        raise UserError(
            f"--only: no case {', '.join(sorted(unknown))}; there are {known}"
        )
    return [each for each in asked if not only or each.case in only]


def executable(python: str) -> str:
    """Its path, not resolved: a virtual environment's is a link. Raises UserError."""
    if (found := shutil.which(python)) is None:
        raise UserError(f"--python: {python}: no such command")
    return os.path.abspath(found)


def compared(asked: Asked, python: str, args: argparse.Namespace) -> dict[str, Any]:
    """A row: facts of both sides, and their seconds per update in each turn."""
    case, module, checkout = asked
    say(f"{case}: compiling the public update, which can take minutes")
    try:
        theirs = Side(python, checkout, module, case, args.sequences)
    except SideFailed as error:
        raise UserError(f"--python: {python}: {error}") from None
    say(f"{case}: compiling ours")
    ours = Side(sys.executable, ROOT, "ours", case, args.sequences)
    sides = {"official": theirs, "ours": ours}
    say(f"{case}: timing")
    row = {"case": case}
    for name, times in in_turns(sides, args.turns, args.seconds).items():
        row[name] = sides[name].facts | {"seconds": times}
        sides[name].close()
    return row


def in_turns(
    sides: dict[str, Side], turns: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds per update of each side's turns, of about `seconds` each."""
    updates = {n: max(1, round(seconds / s.seconds(1))) for n, s in sides.items()}
    times = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            times[name].append(side.seconds(updates[name]) / updates[name])
    return times


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
