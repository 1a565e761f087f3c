"""Updates that are timed in turns with others, each kind in a process of its own.

`Side` is the end that asks. What it asks may run under another Python, with other
packages: this file, whose `serve` answers there, needs none. They speak JSON, a line
each.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
LENGTH = 16  # of the sequences from pixels, on both sides


class SideFailed(Exception):
    """Why a process has ended too early."""


class Side:
    """A process with compiled updates: those of the function `build(case, sequences)`
    of a module in this folder, pixels in so many sequences. It runs in `folder`, whose
    modules it can import. Its `facts` are what `build` tells of the updates. Raises
    SideFailed.
    """

    def __init__(
        self, python: str, folder: Path, module: str, case: str, sequences: int
    ) -> None:
        # what is compiled has to be compiled here, and not be taken from a cache
        keep = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        self._process = subprocess.Popen(
            [python, __file__, module, case, str(sequences)],
            cwd=folder,
            env=keep | {"PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts: Facts = self._answer()

    def seconds(self, updates: int) -> float:
        """Of the next updates, all of them together."""
        print(updates, file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise SideFailed(f"exit code {self._process.wait()}, for the reason above")
        answer = json.loads(line)
        if "missing" in answer:
            raise SideFailed(answer["missing"])
        return answer["answer"]


def serve(module: str, case: str, sequences: str) -> None:
    """Says the facts that `build` gives, and then for each number of updates the
    seconds that they took; or else which module is missing.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        facts, seconds = importlib.import_module(module).build(case, int(sequences))
    except ModuleNotFoundError as error:
        say(missing=str(error))
        return
    say(answer=facts)
    for line in sys.stdin:
        say(answer=seconds(int(line)))


if __name__ == "__main__":
    serve(*sys.argv[1:])
