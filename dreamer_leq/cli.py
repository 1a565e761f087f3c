"""The commands behind train_offline.py and eval.py, and of an installation.

An error of the user's is one line on stderr and exit code 2; a bug keeps its traceback.
"""

import argparse
import contextlib
import importlib.util
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dreamer_leq.system.compiled_programs import keep_compiled_programs
from dreamer_leq.system.errors import UserError
from dreamer_leq.system.programs import program
from dreamer_leq.system.shortages import shortage
from vd4rl_loader.errors import DataError, told
from vd4rl_loader.paths import path_argument
from vd4rl_loader.simulators.workers import WorkerLost
from vd4rl_loader.terminal import accept_any_text

if TYPE_CHECKING:
    from dreamer_leq.config import Config


def train_main(argv: Sequence[str] | None = None) -> int:
    """train_offline.py; returns the exit code."""
    return _guarded(_train, argv)


def eval_main(argv: Sequence[str] | None = None) -> int:
    """eval.py; returns the exit code."""
    return _guarded(_evaluate, argv)


def sweep_main(argv: Sequence[str] | None = None) -> int:
    """`python -m dreamer_leq sweep`; returns the exit code."""
    return _guarded(_sweep, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m dreamer_leq COMMAND …`; returns the exit code."""
    commands = {"train": train_main, "eval": eval_main, "sweep": sweep_main}
    name, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if name in commands:
        return commands[name](rest[:-1])
    asked = name in ("-h", "--help")
    usage = f"python -m dreamer_leq {'|'.join(commands)} …; each has a --help"
    print(usage if asked else f"error: {usage}", file=None if asked else sys.stderr)
    return 0 if asked else 2


def _guarded(
    command: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None
) -> int:
    accept_any_text()
    # the forks are subprocess's, which become ffmpeg or git at once: no JAX in them
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
    keep_compiled_programs()
    try:
        return _told_all(command, sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:  # who read along has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (UserError, DataError, WorkerLost) as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if not (line := shortage(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2


def _told_all(
    command: Callable[[Sequence[str]], int | None], argv: Sequence[str]
) -> int:
    """Its exit code, once all that it said has been taken."""
    try:
        return command(argv) or 0
    finally:
        if sys.stdout:  # there is none where it was closed
            sys.stdout.flush()


def _log(text: str) -> None:
    print(text, flush=True)


def _train(argv: Sequence[str]) -> int:
    from dreamer_leq import config as configs

    config = configs.load(argv)
    with _among_processes(config) as first:
        return _train_run(config, first)


@contextlib.contextmanager
def _among_processes(config: "Config") -> Iterator[bool]:
    """Where the run has several processes the first alone speaks; gives whether this
    is it.
    """
    if not config.mesh:
        yield True
        return
    from dreamer_leq.system import processes

    processes.join()
    with contextlib.ExitStack() as stack:
        if not processes.first():
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        yield processes.first()


def _train_run(config: "Config", first: bool) -> int:
    start = time.monotonic()
    drawn = config.about.suite == "dm_control" and config.eval.episodes > 0
    announced = _announced(config.folder, lambda: drawn)
    with announced if first else contextlib.nullcontext():
        from dreamer_leq.commands.train import train
        from dreamer_leq.system.devices import Devices
        from dreamer_leq.system.interrupts import Interrupted

    devices = Devices.of(config.mesh_axes)
    _log(f"computing on {devices}")
    try:
        folder = train(config, _log, devices)
    except Interrupted as stop:
        _log(str(stop))
        return stop.code
    minutes = (time.monotonic() - start) / 60
    _log(f"done in {minutes:.1f} minutes; everything is in {folder.path}")
    members = [folder.path / name for name in config.members]
    for line in _where(folder.path, members):
        _log(line)
    return 0


@contextlib.contextmanager
def _announced(folder: str | Path, drawn: Callable[[], bool]) -> Iterator[None]:
    """Say what will be used; fail here rather than after hours if nothing can render
    what has to be `drawn`.

    A process of its own tries that, while the body imports what is needed.
    """
    from vd4rl_loader.simulators.opengl import check_rendering

    _log(f"run folder: {folder}")
    with ThreadPoolExecutor(1) as pool:
        rendering = pool.submit(check_rendering)
        yield
        try:
            _log(f"rendering with {rendering.result()}")
        except DataError:
            if drawn():
                raise


def _where(folder: Path, members: Sequence[Path] = ()) -> list[str]:
    """What a finished run has left, or a grid with its members, and the commands to go
    on with.
    """
    made = {
        "videos/open_loop.mp4": "true | imagined | difference",
        "videos/dream.mp4": "its dream, a row per member",
        "videos/policy.mp4": "the policy in its environment",
        "scores.json": "returns in the environment",
        "report.html": "all of it on one page: open it in a browser",
    }
    there = [name for name in made if (folder / name).exists()]
    score = [*program("eval"), "--logdir", str(folder)]
    if members or "scores.json" in there:
        score += ["--episodes", "10"]
        score += ["--video", "out.mp4"] if "videos/policy.mp4" in there else []
        score += ["--imagine", "dream.mp4"] if "videos/dream.mp4" in there else []
    else:  # without a policy, or an environment
        films = "videos/open_loop.mp4" in there
        score += ["--open-loop", "out.mp4"] if films else ["--report"]
    curves = shlex.join(["tensorboard", "--logdir", str(folder / "tensorboard")])
    if not importlib.util.find_spec("tensorboard"):
        curves = f"pip install tensorboard && {curves}"
    return [
        *[f"  {folder / name}   {made[name]}" for name in there],
        *[f"  {member}   a run of the grid" for member in members],
        "go on with",
        f"  {shlex.join(score)}",
        f"  {curves}",
        f"  {shlex.join(program('train'))} --help   every preset and key",
    ]


class _Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def _eval_parser() -> argparse.ArgumentParser:
    about = "Score a run in its environment, write videos of what it does and imagines."
    parser = _Parser(prog="eval.py", description=about, allow_abbrev=False)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--logdir",
        type=_run_argument,
        help="folder of the run, or hf://USER/NAME: one that was shared on the hub",
    )
    what.add_argument(
        "--compare",
        nargs="+",
        type=_named_path,
        metavar="[NAME=]DIR",
        help="compare runs, grids, sweeps and results.csv instead: a table and a page; "
        "NAME is that of their method (default: the keys in which they differ)",
    )
    add(
        "--out",
        default="compare.html",
        type=path_argument,
        help="the page of --compare",
    )
    add(
        "--published",
        type=path_argument,
        metavar="CSV",
        help="published scores beside those of --compare (docs/published.csv)",
    )
    add(
        "--episodes",
        type=int,
        help="episodes to score (default: the run's eval.episodes)",
    )
    add(
        "--seed", type=int, help="first environment seed (default: the run's eval.seed)"
    )
    add(
        "--step",
        metavar="N",
        help="the policy after N updates, of which there is a checkpoint, or that "
        "checkpoint's path (default: the last one); its scores go to eval-N.json",
    )
    add("--workers", type=int, default=0, help="processes (default: one per core)")
    add(
        "--env",
        default="",
        metavar="MODULE:FUNCTION",
        help="environment of your own to score it in (default: that of its training)",
    )
    add("--random", action="store_true", help="score uniform actions beside the policy")
    add(
        "--video",
        type=path_argument,
        help="write the first episodes to this .mp4 or .gif",
    )
    add(
        "--imagine",
        type=path_argument,
        help="write the policy's dream, a row per ensemble member",
    )
    add(
        "--open-loop",
        type=path_argument,
        help="write true | imagined | difference of dataset sequences",
    )
    add("--report", action="store_true", help="write LOGDIR/report.html, with --random")
    add(
        "--export",
        type=path_argument,
        metavar="FILE",
        help="write the policy as one file that JAX alone runs, and nothing else "
        "(docs/share-and-export.md)",
    )
    add(
        "--explore",
        nargs="?",
        const="",
        type=path_argument,
        metavar="FILE.html",
        help="see and steer its dreams on a page of this machine; with a file: a page "
        "with some of them that needs no server",
    )
    add("--port", type=int, default=8765, help="of that page; 0: any that is free")
    add(
        "--share",
        metavar="USER/NAME|./DIR",
        help="put the run on the Hugging Face hub, or into a new folder for others, "
        "and do nothing else (docs/share-and-export.md)",
    )
    add(
        "--data",
        type=path_argument,
        help="the dataset for imagined videos and dreams, if it has moved",
    )
    return parser


def _sweep(argv: Sequence[str]) -> int:
    args = _sweep_parser().parse_args(argv)
    for name, least in {"jobs": 0, "per_gpu": 1, "cpus": 1, "gpus": 0}.items():
        if not least <= getattr(args, name) <= 1000:
            raise UserError(f"--{name.replace('_', '-')}: give {least} to 1000")
    from dreamer_leq.commands.sweep import sweep

    return sweep(args, _log)


def _sweep_parser() -> argparse.ArgumentParser:
    about = "Train all runs that a file names, and put their results into tables."
    parser = _Parser(
        prog="python -m dreamer_leq sweep", description=about, allow_abbrev=False
    )
    add = parser.add_argument
    add("file", type=path_argument, help="the sweep: docs/sweeps.md explains its keys")
    add("--dry-run", action="store_true", help="print the plan, and start nothing")
    add(
        "--jobs",
        type=int,
        default=0,
        help="jobs at the same time (default: as many as the GPUs hold, or one)",
    )
    add("--per-gpu", type=int, default=1, help="jobs that share a GPU (default: 1)")
    add(
        "--engine",
        choices=("local", "ray", "slurm"),
        default="local",
        help="what runs the jobs: processes of this machine (default), Ray, Slurm",
    )
    add("--cpus", type=int, default=1, help="cores of a job, for Ray and Slurm (1)")
    add("--address", default="", help="of a Ray cluster (default: Ray started here)")
    add("--gpus", type=int, default=1, help="GPUs of a job, for Slurm (1)")
    add(
        "--time",
        type=_minutes,
        default=60,
        metavar="H:MM",
        help="of a Slurm job, which is queued again when it is over (1:00)",
    )
    add("--partition", default="", help="of Slurm")
    return parser


def _minutes(text: str) -> int:
    hours, colon, minutes = text.rpartition(":")
    if not minutes.isdecimal() or (colon and not hours.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected H:MM, such as 24:00")
    return 60 * int(hours or 0) + int(minutes)


def _named_path(text: str) -> str:
    name, equals, path = text.rpartition("=")
    return name + equals + path_argument(path)


def _run_argument(text: str) -> str:
    return text if text.startswith("hf://") else path_argument(text)


def _evaluate(argv: Sequence[str]) -> None:
    args = _eval_parser().parse_args(argv)
    if args.compare:
        from dreamer_leq.commands.compare import compare

        return compare(args, _log)
    if args.explore is not None:
        from dreamer_leq.commands.explore import explore

        return explore(args, _log)
    if args.export:
        from dreamer_leq.api.loaded_run import load_run

        run = load_run(args.logdir, step=args.step)
        return _log(f"wrote {run.export(args.export)}")
    if args.share:
        from dreamer_leq.commands.share import share
        from dreamer_leq.run.folder import RunFolder

        return share(RunFolder(args.logdir, args.step), args.share, _log)

    def drawn() -> bool:
        suite = RunFolder(args.logdir).config.about.suite
        return suite == "dm_control" or (bool(args.video) and suite != "own")

    with _announced(args.logdir, drawn):
        from dreamer_leq.commands.evaluate import evaluate_run
        from dreamer_leq.run.folder import RunFolder
        from dreamer_leq.system.devices import ONE_DEVICE
    _log(f"computing on {ONE_DEVICE}")
    evaluate_run(args, _log)
