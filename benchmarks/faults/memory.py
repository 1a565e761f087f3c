"""Training that needs more memory than there is, on the CPU.

    nice python benchmarks/faults/memory.py

The address space is limited, and one key at a time asks for more than that. Every trial
has to end with exit code 2 and one line that names the key, the run's last checkpoint
has to load, and with the key lowered the command has to end well. Exits with 1
otherwise.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/shared")]

from workplace import users_environment  # noqa: E402

from dreamer_leq.training.checkpoints import Checkpoints  # noqa: E402

LIMIT = 14 * 2**30  # bytes, of which JAX reserves 12 GiB that it never touches
PATIENCE = 3600  # seconds after which something hangs, on a machine that is busy
MAZE = ("--configs", "maze", "debug", "--task", "pointmaze-umaze")
# By the key that the line has to name: preset, what is set too large, and the phase of
# which there is a checkpoint.
TRIALS = {
    "ensemble.batch": (MAZE, "ensemble.units", 30_000, ""),
    "bc.batch": (MAZE, "bc.batch", 80_000_000, "bc"),
    "leq.batch": (MAZE, "leq.batch", 80_000_000, "leq"),
    "latent.batch": (("--configs", "debug"), "latent.batch", 30_000, "world_model"),
}


def train(folder: Path, limit: int | str, *flags: object) -> tuple[int, str]:
    """Exit code and stderr."""
    command = ["prlimit", f"--as={limit}"]
    command += [sys.executable, ROOT / "train_offline.py", *flags]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=users_environment(folder / "cache"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stderr


def tried(name: str, folder: Path) -> tuple[str, list[str]]:
    """What it said, and what is wrong."""
    preset, key, value, phase = TRIALS[name]
    run = folder / name
    code, said = train(folder, LIMIT, *preset, "--logdir", run, f"--{key}", value)
    lines = [x for x in said.splitlines() if not x.startswith("collecting")]
    wrong = [] if code == 2 else [f"exit code {code}"]
    if len(lines) != 1 or name not in said:
        wrong.append(f"{len(lines)} lines: {said[-1500:]}")
    if phase:
        try:
            Checkpoints(run / "checkpoints").restore(phase)
        except Exception as error:
            wrong.append(str(error))
    lowered = ("--logdir", folder / f"{name} lowered")
    code, again = train(folder, "unlimited", *preset, *lowered)
    if code:
        wrong.append(f"lowered: {again[-1500:]}")
    return lines[-1] if lines else "nothing", wrong


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in TRIALS:
            said, wrong = tried(name, Path(folder))
            failed += bool(wrong)
            print(f"{name}\n    {said}", *wrong, sep="\n  ! ", flush=True)
    print(f"{len(TRIALS)} trials, {failed} wrong")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
