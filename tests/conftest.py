"""One folder of compiled programs for all that a run of the tests starts: its own
processes, those of pytest-xdist and the commands, which share what one has compiled.
"""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

FOLDER = "JAX_COMPILATION_CACHE_DIR"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"  # most of the tests' time is the compiler's
MAPPINGS = 20_000  # of memory; Linux allows a process 65,530


def pytest_configure(config):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA on what it has loaded
    os.environ.setdefault(QUICKLY, "1")
    if FOLDER not in os.environ:
        config.compiled_programs = tempfile.mkdtemp(prefix="pytest-jax-")
        os.environ[FOLDER] = config.compiled_programs
        os.environ[SHORTEST] = "0.2"


def pytest_unconfigure(config):
    if folder := getattr(config, "compiled_programs", None):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_runtest_teardown(item, nextitem):
    """Drop compiled programs between files before they are too many: each has a few
    mappings, and without room for more OpenGL's own compiler aborts the process.
    """
    between = nextitem is not None and nextitem.path != item.path
    if between and "jax" in sys.modules and mappings() > MAPPINGS:
        sys.modules["jax"].clear_caches()
        gc.collect()


def mappings():
    """How many mappings of memory this process has; 0 where that isn't told."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0
