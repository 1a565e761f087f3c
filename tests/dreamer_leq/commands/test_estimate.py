"""What an estimate says in words."""

import pytest

from dreamer_leq.commands.estimate import sentence

FQE = {"value": -59.5, "low": -61.0, "high": -58.0, "drift": 0.2, "residual": -1.25}
FOUND = {
    "episodes": 12,
    "fqe": FQE | {"converged": True},
    "calibration": {"bias": -3.0},
    "critic": -62.5,
    "data_return": -91.7,
    "data_received": -34.1,
}


def test_what_was_received_is_told_from_what_is_assumed():
    text = sentence(FOUND)
    assert "worth -59.5 (-61.0 … -58.0)" in text and "give or take 1.2 by" in text
    assert "they received -34.1, and -57.6 is assumed behind where they were" in text
    whole = sentence(FOUND | {"data_return": -34.1})
    assert "received -34.1. Its own critic says -62.5" in whole and "3.0 below" in whole


@pytest.mark.parametrize("value", [25.1, 1e9])
def test_a_fit_that_has_not_converged_has_no_interval(value):
    fqe = FQE | {"converged": False, "value": value, "low": None, "high": None}
    text = sentence(FOUND | {"fqe": fqe | {"drift": 241.6}})
    assert "is not known" in text and "has not converged" in text and "…" not in text
    assert f"it says {value:.1f}, and would still move by about +241.6" in text
