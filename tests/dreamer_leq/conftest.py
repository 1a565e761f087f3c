"""What the tests of the agent share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Compile fast rather than for speed: for tests of formulas on tiny networks, whose
    time is the compiler's. Use it with `pytest.mark.usefixtures`.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
