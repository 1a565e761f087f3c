"""What soft actor-critic's descendants share, and where they part."""

import numpy as np
import pytest
from learners import make_learner


@pytest.mark.parametrize("name", ["mopo", "mobile", "rambo", "edac", "cbop"])
def test_the_entropys_weight_is_at_most_1(name):
    assert weight(name, -0.5) == pytest.approx(np.exp(-0.5))
    assert weight(name, 2.0) == 1


@pytest.mark.parametrize("name", ["cql", "combo", "mobile_star"])
def test_or_as_large_as_it_becomes(name):
    assert weight(name, 2.0) == pytest.approx(np.exp(2.0))


def weight(name, log):
    """α where its logarithm is `log`."""
    imagines = name not in ("cql", "edac")
    learner = make_learner(name, ensemble=imagines)
    return float(learner.alpha({"temperature": {"log": np.float32(log)}}))
