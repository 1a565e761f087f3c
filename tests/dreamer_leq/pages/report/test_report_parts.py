"""The report's arithmetic: what it thins, what it adds up, how it ranks."""

import pytest
import report_files as files

from dreamer_leq.pages.parts import duration, interval, shown
from dreamer_leq.pages.run_files import RunFiles, spent


@pytest.fixture
def folder(tmp_path):
    return files.write_run(tmp_path / "run")


def seconds(folder, records):
    files.write_records(folder, records)
    return spent(RunFiles(folder)).seconds


# --- time and memory


def test_time_between_records_is_that_of_the_later_phase(folder):
    records = [
        files.record("world_model", 1, 20.0),
        files.record("world_model", 2, 50.0),
        files.record("bc", 1, 65.0),
        files.record("leq", 0, 70.0),
    ]
    assert seconds(folder, records) == {"world_model": 50.0, "bc": 15.0, "leq": 5.0}


def test_a_break_between_two_processes_is_not_counted(folder):
    records = [files.record("leq", 1, 100.0), files.record("leq", 2, 30.0)]
    records[1]["time"]["wall"] = 1e9 + 5000  # the next day
    assert seconds(folder, records) == {"leq": 130.0}


def test_peaks_are_the_highest_of_all_processes(folder):
    records = [files.record("leq", i, float(i)) for i in (1, 2, 3)]
    records[1]["time"]["peak_memory"] = 5e9
    records[2]["time"]["peak_device_memory"] = 7e9
    files.write_records(folder, records)
    found = spent(RunFiles(folder))
    assert (found.memory, found.device_memory) == (5e9, 7e9)


def test_runs_of_earlier_versions_recorded_nothing(folder):
    record = files.record("leq", 1, 1.0) | {"time": {"wall": 1.0}}
    assert seconds(folder, [record]) == {}
    assert spent(RunFiles(folder)).memory is None


def test_a_grids_time_is_that_of_its_one_process(tmp_path):
    grid = RunFiles(files.write_grid(tmp_path / "grid"))
    # four members write what one process did in 360 s, and then until 520 s
    assert spent(grid).seconds == {"world_model": 360.0, "leq": 160.0}
    assert spent(grid.members[0]).seconds == {"leq": 120.0}


# --- numbers


def test_numbers_are_written_as_one_reads_them():
    found = [shown(x) for x in (1234.5, 99.96, 12.34, 0.1234, 0.0, -3.2, None)]
    assert found == ["1,234", "100.0", "12.3", "0.12", "0", "−3.20", "–"]
    assert shown(0.62, "success") == "62 %"
    assert interval(0.5, 0.75, "success") == "50 % … 75 %"
    assert interval(1.0, None) == "–"
    assert [duration(x) for x in (9, 90, 9000)] == ["9 s", "1.5 min", "2.5 h"]
