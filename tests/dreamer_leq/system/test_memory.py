"""Free memory as machines and containers tell it, from copies of their files."""

import pytest

from dreamer_leq.system.memory import available_memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path):
    """Writes files below a root of its own; 4 GiB are free and 20 available."""

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    kib = GIB // 1024
    lines = f"MemFree: {4 * kib} kB\nMemAvailable:  {20 * kib} kB\nHugePages: 0\n"
    write("proc/meminfo", lines)
    write.root = tmp_path
    return write


def group(machine, folder, limit, used, cached, version=2):
    names = {2: ("max", "current"), 1: ("limit_in_bytes", "usage_in_bytes")}[version]
    prefix = "" if version == 2 else "total_"
    folder = f"sys/fs/cgroup/{folder}"
    stat = f"anon 5\n{prefix}inactive_file {cached}\n{prefix}active_file 0\n"
    machine(f"{folder}/memory.stat", stat)
    for name, value in zip(names, (limit, used), strict=True):
        machine(f"{folder}/memory.{name}", f"{value}\n")


def test_what_was_only_read_counts_as_free(machine):
    assert available_memory(machine.root) == 20 * GIB


@pytest.mark.parametrize(("limit", "left"), [("unlimited", 20), (4 * GIB, 1)])
def test_a_limit_of_the_process_counts(machine, limit, left):
    machine("proc/self/limits", f"Max data size {limit} unlimited bytes\n")
    machine("proc/self/status", f"VmRSS: 7 kB\nVmData:\t {3 * GIB // 1024} kB\n")
    assert available_memory(machine.root) == left * GIB


def test_a_containers_limit_counts(machine):
    machine("proc/self/cgroup", "0::/\n")
    group(machine, "", 8 * GIB, 5 * GIB, cached=2 * GIB)
    assert available_memory(machine.root) == 5 * GIB


def test_so_does_that_of_a_job_around_its_steps(machine):
    machine("proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    group(machine, "slurm/job_7/step_0", "max", GIB, 0)
    group(machine, "slurm/job_7", 6 * GIB, GIB, 0)
    assert available_memory(machine.root) == 5 * GIB


@pytest.mark.parametrize("path", ["/docker/0a1b", "/"])
def test_so_does_an_older_kernels(machine, path):
    machine("proc/self/cgroup", f"9:name=systemd:/\n5:cpu,memory:{path}\n0::/\n")
    group(machine, "memory", 3 * GIB, 2 * GIB, GIB, version=1)
    assert available_memory(machine.root) == 2 * GIB


def test_no_limit_is_none(machine):
    machine("proc/self/cgroup", "8:memory:/\n")
    group(machine, "memory", (1 << 63) - 4096, GIB, 0, version=1)
    assert available_memory(machine.root) == 20 * GIB


def test_this_machine_has_some():
    assert 0 < available_memory() < 1 << 50
