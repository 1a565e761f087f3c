"""`python -m vd4rl_loader info|collect|convert|download`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from vd4rl_loader.errors import DataError, disk_trouble
from vd4rl_loader.workers import WorkerLost

_COMMANDS = {
    "info": "show what is in a dataset",
    "collect": "make a dataset by playing policies in simulation",
    "convert": "turn .npz episodes into .hdf5 shards and back",
    "download": "fetch a dataset of V-D4RL from the Hugging Face hub",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; 2 for an error of the user's."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m vd4rl_loader", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name in arguments[:1]:  # the others' modules need not be imported
            module = importlib.import_module(f"vd4rl_loader.{name}")
            module.add_arguments(command)
    args = parser.parse_args(arguments)
    try:
        module.run(args)
    except (DataError, WorkerLost) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not (trouble := disk_trouble(error)):
            raise
        print(f"error: {trouble}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
