"""What is printed: figures, ratios to older ones or to other code, and profiles."""

from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
WIDTH = 170  # where the output goes to a file
PARTS = 15  # of the model, in a profile


def show(*shown: Any) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for each in shown:
        console.print(each)


def figures(rows: list[Row], machine: Row) -> Table:
    """A line per row; what was only planned has no times."""
    columns = ("ms per update", "from - to", "updates/s", "GFLOP each", "GFLOP/s")
    columns += ("of peak", "compiles in (CPU)", "peak memory", "planned")
    table = _table(["case", "size"], columns)
    for row in rows:
        table.add_row(name(row), f"{row['size']}, {row['dtype']}", *_cells(row))
    table.caption = "\n".join(_captions(rows, machine))
    return table


def name(row: Row) -> str:
    return " ".join(filter(None, (row["case"], row["variant"])))


def _cells(row: Row) -> Iterator[str]:
    if times := row.get("seconds"):
        middle = median(times)
        yield f"{middle * 1e3:.4g}"
        yield f"{min(times) * 1e3:.4g} - {max(times) * 1e3:.4g}"
        yield f"{1 / middle:.3g}"
        yield f"{row['flop'] / 1e9:.3g}"
        yield f"{row['flop'] / middle / 1e9:,.0f}"
        yield f"{_of_peak(row):.0%}"
    else:
        yield from ("", "", "", f"{row['flop'] / 1e9:.3g}", "", "")
    yield f"{row['compile_seconds']:.1f} s ({row['compile_cpu_seconds']:.1f})"
    peak = row.get("peak_memory")
    yield _mebibytes(peak["bytes"]) if peak else ""
    yield _mebibytes(sum(row["planned_memory"].values()))


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _captions(rows: list[Row], machine: Row) -> Iterator[str]:
    for row in rows:
        if rare := row.get("rare"):
            yield f"{name(row)}: {_rare(rare, median(row['seconds']))}"
    for case, group in _groups(rows).items():
        if len(group) > 1 and "seconds" in group[0]:
            yield f"{case}: {', '.join(_ratios(group))}"
    devices = machine["devices"]
    peaks = (
        f"{dtype} {peak['flops'] / 1e9:,.0f} (side {peak['side']})"
        for dtype, peak in machine["matmul_peak"].items()
    )
    what = machine["processor"] if machine["backend"] == "cpu" else devices[0]
    yield (
        f"{what}, {machine['cores']} cores; its matmul peak in GFLOP/s: "
        f"{', '.join(peaks)}; 'of peak' is of the one measured after the case"
    )
    yield (
        "from - to: the repeats; peak memory: the most in use on the device, on a CPU "
        "by the process; planned: what the compiled program asks for"
    )


def _rare(rare: Row, update: float) -> str:
    whole = rare["every"] * update + rare["seconds"]
    return (
        f"{rare['name']} takes {rare['seconds']:.2g} s "
        f"({rare['seconds'] / whole:.1%} of the time); the {rare['every']:,} updates "
        f"before it and itself: {whole:,.1f} s"
    )


def _groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["case"], []).append(row)
    return groups


def _ratios(group: list[Row]) -> Iterator[str]:
    """Times of a case's variants, measured in turn, by that of the first."""
    first = group[0]
    for row in group[1:]:
        each = [a / b for a, b in zip(row["seconds"], first["seconds"], strict=True)]
        yield (
            f"{row['variant']} takes {median(each):.2f} times {first['variant']} "
            f"({min(each):.2f} - {max(each):.2f})"
        )


def comparison(new: list[Row], old: list[Row]) -> Table:
    """Old by new, so that more is better; sizes that differ aren't compared."""
    columns = ("time", "at least - at most", "FLOP", "compilation", "memory", "planned")
    table = _table(["case", "size"], columns)
    before = {name(row): row for row in old}
    for row in new:
        if (was := before.get(name(row))) is None:
            continue
        same = (was["size"], was["dtype"]) == (row["size"], row["dtype"])
        size = f"{row['size']}, {row['dtype']}"
        if same:
            table.add_row(name(row), size, *_gains(row, was))
        else:
            table.add_row(name(row), f"{size}; was {was['size']}, {was['dtype']}")
    table.caption = (
        "old / new: above 1 the new one is faster, or takes less"
        if table.row_count
        else "no case is in both"
    )
    return table


def _gains(new: Row, old: Row) -> Iterator[str]:
    a, b = old.get("seconds"), new.get("seconds")
    if a and b:
        yield f"{median(a) / median(b):.2f}"
        yield f"{min(a) / max(b):.2f} - {max(a) / min(b):.2f}"
    else:
        yield from ("", "")
    yield f"{old['flop'] / new['flop']:.2f}"
    yield f"{old['compile_seconds'] / new['compile_seconds']:.2f}"
    a, b = old.get("peak_memory"), new.get("peak_memory")
    yield f"{a['bytes'] / b['bytes']:.2f}" if a and b else ""
    planned = [sum(row["planned_memory"].values()) for row in (old, new)]
    yield f"{planned[0] / planned[1]:.2f}"


def against_official(rows: list[Row], machine: Row) -> Table:
    """A line per case; the ratio is that of the turns."""
    columns = ("official, ms", "ours, ms", "official / ours", "from - to")
    columns += ("GFLOP each", "of peak", "compile in CPU-s")
    table = _table(["case", "size"], columns)
    for row in rows:
        table.add_row(row["case"], row["ours"]["size"], *_beside(row))
    ours = rows[0]["ours"]
    theirs = " or ".join(dict.fromkeys(row["official"]["library"] for row in rows))
    table.caption = (
        f"{machine['processor']}, one core; {theirs}, and {ours['library']}; "
        f"times are medians of {len(ours['seconds'])} turns\n"
        "two figures: the public code's and ours, or ours; of peak: of the fastest "
        "matrix product with the same library"
    )
    return table


def _beside(row: Row) -> Iterator[str]:
    theirs, ours = row["official"], row["ours"]
    pairs = zip(theirs["seconds"], ours["seconds"], strict=True)
    each = [a / b for a, b in pairs]
    for side in (theirs, ours):
        yield f"{median(side['seconds']) * 1e3:.4g}"
    yield f"{median(each):.2f}"
    yield f"{min(each):.2f} - {max(each):.2f}"
    compiled = [side for side in (theirs, ours) if "flop" in side]  # torch is not
    yield ", ".join(f"{side['flop'] / 1e9:.3g}" for side in compiled)
    yield ", ".join(f"{_of_peak(side):.0%}" for side in compiled)
    yield ", ".join(f"{side['compile_cpu_seconds']:.1f}" for side in compiled)


def _of_peak(row: Row) -> float:
    return row["flop"] / median(row["seconds"]) / row["matmul_peak"]


def profiles(row: Row) -> list[Any]:
    """By kind of operation, by part of the model, and the longest operations."""
    title = (
        f"{name(row)}, {row['size']}: {row['updates']} updates in "
        f"{row['wall_seconds']:.3g} s under the profiler, "
        f"{row['busy_seconds'] / row['wall_seconds']:.0%} of it in operations"
    )
    kinds = _table(["operations"], ("ms per update", "share"))
    for kind, seconds in row["kinds"].items():
        kinds.add_row(kind, *_part(seconds, row))
    parts = _table(["part", "way", "in a loop"], ("ms per update", "share"))
    for part in row["parts"][:PARTS]:
        looped = "yes" if part["looped"] else ""
        parts.add_row(part["part"], part["way"], looped, *_part(part["seconds"], row))
    what = ["operation", "kind", "result", "source"]
    columns = ("times", "ms per update", "share", "GFLOP/s")
    longest = _table(what, columns)
    for op in row["operations"]:
        longest.add_row(*_longest(op, row))
    longest.caption = f"times: per update; the trace: {row['trace']}"
    return ["", title, kinds, parts, longest]


def _part(seconds: float, row: Row) -> tuple[str, str]:
    each = f"{seconds / row['updates'] * 1e3:.3g}"
    return each, f"{seconds / row['busy_seconds']:.1%}"


def _longest(op: Row, row: Row) -> Iterator[str]:
    yield from (op["name"], op["kind"], op["shape"])
    yield op["op_name"].replace("while/body/", "").replace("closed_call/", "")
    yield f"{op['calls'] / row['updates']:.4g}"
    yield from _part(op["seconds"], row)
    speed = op["flop"] * op["calls"] / op["seconds"] / 1e9
    yield f"{speed:,.0f}" if speed else ""


def _table(words: list[str], numbers: Iterable[str]) -> Table:
    table = Table()
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right")
    return table
