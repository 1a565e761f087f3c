"""Slurm's commands for tests, on this machine: this file under the names sbatch, srun,
sacct and scancel. A job's state is in the folder $STAND_IN_SLURM.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PLACE = Path(os.environ.get("STAND_IN_SLURM", "."))


def install(folder: Path) -> None:
    """The commands, as files of `folder`."""
    for name in ("sbatch", "srun", "sacct", "scancel"):
        command = folder / name
        command.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        command.chmod(0o755)


def sbatch(script):
    """Starts every task of the array, or the one job; each is a process of its own."""
    number = 1 + len(list(PLACE.glob("*.sh")))
    (PLACE / f"{number}.sh").write_text(text := Path(script).read_text())
    array = re.search(r"--array=0-(\d+)", text)
    for task in range(int(array[1]) + 1) if array else [None]:
        name = str(number) if task is None else f"{number}_{task}"
        given = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1"}
        given |= {"SLURM_NTASKS": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0"}
        given |= {"SLURM_LOCALID": "0", "STAND_IN_JOB": name}
        if task is not None:
            given |= {"SLURM_ARRAY_JOB_ID": str(number)}
            given |= {"SLURM_ARRAY_TASK_ID": str(task)}
        command = f"bash {PLACE}/{number}.sh; echo $? > {PLACE}/{name}.code"
        process = subprocess.Popen(
            ["bash", "-c", command],
            env=os.environ | given,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (PLACE / f"{name}.pid").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def srun(*words):
    """The command after srun's own flags, with its output where they say."""
    words, files = list(words), {}
    while words[0].startswith("--"):
        if (flag := words.pop(0)) in ("--output", "--error"):
            array, _, task = os.environ["STAND_IN_JOB"].partition("_")
            name = words.pop(0).replace("%j", array).replace("%A", array)
            files[flag] = name.replace("%a", task).replace("%t", "0")
    with open(files["--output"], "a") as out, open(files["--error"], "a") as error:
        sys.exit(subprocess.call(words, stdout=out, stderr=error))


def sacct(*_):
    """All jobs' states."""
    print("JobID|State|NodeList")
    for file in PLACE.glob("*.pid"):
        code = file.with_suffix(".code")
        ended = code.exists() and (
            "COMPLETED" if code.read_text() == "0\n" else "FAILED"
        )
        print(f"{file.stem}|{ended or 'RUNNING'}|here")


def scancel(job):
    os.killpg(int((PLACE / f"{job}.pid").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    globals()[Path(sys.argv[0]).name](*sys.argv[1:])
