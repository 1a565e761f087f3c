"""One folder of compiled programs for all that a run of the tests starts: its own
processes, those of pytest-xdist and the commands, which share what one has compiled.
"""

import os
import shutil
import tempfile

FOLDER = "JAX_COMPILATION_CACHE_DIR"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def pytest_configure(config):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA on what it has loaded
    if FOLDER not in os.environ:
        config.compiled_programs = tempfile.mkdtemp(prefix="pytest-jax-")
        os.environ[FOLDER] = config.compiled_programs
        os.environ[SHORTEST] = "0.2"


def pytest_unconfigure(config):
    if folder := getattr(config, "compiled_programs", None):
        shutil.rmtree(folder, ignore_errors=True)
