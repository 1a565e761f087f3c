"""`python -m vd4rl_loader info|collect|convert|download`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from vd4rl_loader.errors import DataError, disk_trouble, told
from vd4rl_loader.simulators.workers import WorkerLost
from vd4rl_loader.terminal import accept_any_text

_COMMANDS = {  # and the modules that hold them
    "info": ("info", "show what is in a dataset"),
    "collect": (
        "collection.suites",
        "make a dataset by playing policies in simulation",
    ),
    "convert": (
        "convert",
        "turn .npz episodes into .hdf5 shards and back, or bring other projects' data",
    ),
    "download": ("download", "fetch a dataset of V-D4RL from the Hugging Face hub"),
}


class _Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        raise DataError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; 2 for an error of the user's."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    accept_any_text()
    try:
        return _main(arguments)
    except (DataError, WorkerLost) as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if not (trouble := disk_trouble(error)):
            raise
        print(f"error: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _main(arguments: Sequence[str]) -> int:
    parser = _Parser(prog="python -m vd4rl_loader", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (home, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name in arguments[:1]:  # the others' modules need not be imported
            module = importlib.import_module(f"vd4rl_loader.{home}")
            module.add_arguments(command)
    args = parser.parse_args(arguments)
    module.run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
