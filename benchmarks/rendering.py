"""Frames per second of dm_control's tasks, drawn by dm_control itself and here.

    python benchmarks/rendering.py
    python benchmarks/rendering.py --tasks fish_swim humanoid_walk --styles vd4rl

A frame is an action, repeated twice, and the picture after it. Before: dm_control's own
`physics.render`, told which effects to leave out, in processes with as many threads as
Mesa takes by itself. After: the environments of collection and evaluation, in processes
as theirs. Both play the same random actions, in turns, so that both meet what else the
machine does; rates are medians of the turns. The error is that of the pictures of the
second against those of the first.
"""

import argparse
import dataclasses
import os
import sys
import time
from statistics import median

import numpy as np
from playing import Player
from rich.console import Console
from rich.table import Table

from vd4rl_loader.errors import DataError
from vd4rl_loader.simulators.opengl import check_rendering
from vd4rl_loader.simulators.render import RenderStyle
from vd4rl_loader.simulators.simulate import split_task
from vd4rl_loader.simulators.workers import Worker, close_all

CORES = len(os.sched_getaffinity(0))
NOTICED = 8  # of 255: the table tells how many values differ by more


@dataclasses.dataclass
class Side:
    """What one way of drawing took."""

    name: str
    processes: list[Worker]
    rates: list[float] = dataclasses.field(default_factory=list)
    cpu: list[float] = dataclasses.field(default_factory=list)  # seconds per frame
    images: list[np.ndarray] = dataclasses.field(default_factory=list)

    def play(self, count: int) -> float:
        """One turn: `count` frames in each process, all at once; frames per second."""
        start = time.perf_counter()
        for process in self.processes:
            process.ask(count)
        answers = [process.answer(self.name) for process in self.processes]
        frames = count * len(self.processes)
        self.rates.append(frames / (time.perf_counter() - start))
        self.cpu.append(sum(cpu for cpu, _ in answers) / frames)
        self.images.append(np.concatenate([images for _, images in answers]))
        return self.rates[-1]

    def forget(self) -> None:
        """Forgets the turns so far: they were for warming up."""
        for turns in (self.rates, self.cpu, self.images):
            turns.clear()


def main() -> int:
    args = parse()
    try:
        for task in args.tasks:
            split_task(task)
        styles = [RenderStyle.named(name, args.size) for name in args.styles]
        renderer = check_rendering()
        table = new_table(args, renderer)
        for task in args.tasks:
            for style in styles:
                for processes in sorted({1, CORES}):
                    before, after = measure(task, style, processes, args)
                    table.add_row(task, style.name, *row(processes, before, after))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    Console().print(table)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--tasks", nargs="+", default=["walker_walk", "cheetah_run"])
    add("--styles", nargs="+", default=["vd4rl", "fast"])
    add("--size", type=int, default=64, help="height and width in pixels (64)")
    add("--seconds", type=float, default=1.0, help="of a turn, about (1)")
    add("--turns", type=int, default=5, help="of each side (5)")
    return parser.parse_args()


def measure(
    task: str, style: RenderStyle, processes: int, args: argparse.Namespace
) -> tuple[Side, Side]:
    """Both sides in turns, dm_control's own first."""
    sides = [
        Side(name, [start(task, style, plain, seed) for seed in range(processes)])
        for name, plain in (("dm_control", True), ("here", False))
    ]
    try:
        for side in sides:
            side.play(1)  # makes the environments
        count = max(1, round(args.seconds * min(side.play(10) for side in sides)))
        for side in sides:
            side.forget()
        for _ in range(args.turns):
            for side in sides:
                side.play(count // processes + 1)
    finally:
        close_all([worker for side in sides for worker in side.processes], 5.0)
    return sides[0], sides[1]


def start(task: str, style: RenderStyle, plain: bool, seed: int) -> Worker:
    threads = {"LP_NUM_THREADS": str(CORES)} if plain else {}
    return Worker(Player(task, style, plain, seed), threads)


def new_table(args: argparse.Namespace, renderer: str) -> Table:
    table = Table(title=f"{args.size}×{args.size}, {renderer}, {CORES} cores")
    for name in ("task", "style"):
        table.add_column(name)
    for name in (
        "processes",
        "dm_control, frames/s",
        "here, frames/s",
        "ratio",
        "CPU-ms a frame",
        "error of 255",
        f"differ by > {NOTICED}",
    ):
        table.add_column(name, justify="right")
    return table


def row(processes: int, before: Side, after: Side) -> list[str]:
    pairs = zip(after.rates, before.rates, strict=True)
    images, plain = (np.concatenate(side.images) for side in (after, before))
    errors = np.abs(np.int16(images) - plain)
    return [
        str(processes),
        f"{median(before.rates):.0f}",
        f"{median(after.rates):.0f}",
        f"{median(new / old for new, old in pairs):.1f}",
        f"{1e3 * median(before.cpu):.1f} -> {1e3 * median(after.cpu):.1f}",
        f"{errors.mean():.3f}",
        f"{(errors > NOTICED).mean():.2%}",
    ]


if __name__ == "__main__":
    sys.exit(main())
