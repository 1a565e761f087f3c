"""What the tests of the agent share."""

import signal

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def hangups():
    """Are heard here, also where the tests themselves run under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile fast rather than for speed: for tests of formulas on tiny networks, whose
    time is the compiler's. Use it with `pytest.mark.usefixtures`.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
