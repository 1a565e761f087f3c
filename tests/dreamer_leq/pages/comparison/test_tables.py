"""The comparison's tables, wherever they are read."""

import io

import pytest
import report_files as files
from rich.console import Console

from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.pages.comparison.tables import laid_out
from dreamer_leq.pages.comparison.terminal import terminal_tables
from dreamer_leq.pages.parts import Table


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    arguments = files.write_eight_methods(tmp_path_factory.mktemp("runs"))
    return summarize(open_runs(arguments))


def printed(summary, width):
    console = Console(file=io.StringIO(), width=width)
    for table in terminal_tables(summary, width):
        console.print(table)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_eight_methods_of_long_names_are_readable(eight, width):
    found = printed(eight, width)
    assert max(map(len, found.splitlines())) <= width
    assert "…│" not in found.replace(" ", "")  # no cell is cut
    for i in range(8):
        assert f" {'ABCDEFGH'[i]} " in found
        assert found.count(f"expectile {i} of critics") == 1
        # on two tasks and in their interquartile mean
        assert found.count(f" {10 * i + 5}.0 ") >= 3
        assert found.count(f"({10 * i}.0 … {10 * i + 10}.0)") >= 3
    assert found.count("1.00") > found.count("0.50") > 0


def test_a_table_turns_before_it_breaks():
    head = ["", *(f"method number {i}" for i in range(5))]
    table = Table(head, [["task", *("90.0 (80.0 … 100.0)" for _ in range(5))]])
    assert laid_out(table, 200) == [table]
    (turned,) = laid_out(table, 50)
    assert turned.head == ["", "task"] and len(turned.rows) == 5
    assert turned.rows[0] == ["method number 0", "90.0 (80.0 … 100.0)"]
    (folded,) = laid_out(table, 40)
    assert folded.rows[0] == ["method number 0", "90.0\n(80.0 … 100.0)"]


def test_what_still_is_too_wide_is_in_parts():
    names = [f"m{i}" for i in range(6)]
    rows = [[name, *("0.50 (0.00 … 1.00)" for _ in names)] for name in names]
    parts = laid_out(Table(["", *names], rows), 60)
    assert [part.head[1:] for part in parts] == [names[:3], names[3:]]
    assert all([row[0] for row in part.rows] == names for part in parts)


def test_a_column_that_is_too_wide_alone_is_there():
    table = Table(["", "a" * 90], [["x", "1"], ["y", "2"], ["z", "3"]])
    (part,) = laid_out(table, 20)
    assert (part.head, len(part.rows)) == (table.head, 3)
