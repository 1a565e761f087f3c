"""One folder of compiled programs for all that a run of the tests starts: its own
processes, those of pytest-xdist and the commands, which share what one has compiled.
Most of the tests' time is the compiler's, so it compiles quickly instead of well.
"""

import gc
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from vd4rl_loader.simulators.opengl import choose_renderer

FOLDER = "JAX_COMPILATION_CACHE_DIR"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
QUICKLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
# What kernels are made by takes three times as long as what made them before; from
# jaxlib 0.11 on it is the only way, and the flag would end the process. Parts of a
# program that are compiled side by side take a quarter more than the whole.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
MAPPINGS = 20_000  # of memory; Linux allows a process 65,530


def pytest_configure(config):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA on what it has loaded
    choose_renderer()  # before a test imports dm_control, or ogbench, which does
    os.environ.setdefault(QUICKLY, "1")
    flags = os.environ.get("XLA_FLAGS", "")
    known = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
    if known and FLAGS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAGS}".strip()
    if FOLDER not in os.environ:
        config.compiled_programs = tempfile.mkdtemp(prefix="pytest-jax-")
        os.environ[FOLDER] = config.compiled_programs
        os.environ[SHORTEST] = "0"


def pytest_unconfigure(config):
    if folder := getattr(config, "compiled_programs", None):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_finish(session):
    """Look for garbage rarely, and not in what was imported: it takes a quarter of the
    time in which JAX traces.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


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
