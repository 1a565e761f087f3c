"""Curves with fewer points."""

import numpy as np

from dreamer_leq.pages.charts import thinned


def test_thinning_keeps_ends_order_and_extremes():
    rng = np.random.default_rng(0)
    x, y = np.arange(10_000), rng.normal(size=10_000)
    few_x, few_y = thinned(x, y, 100)
    assert len(few_x) <= 100 and (few_x[0], few_x[-1]) == (0, 9_999)
    assert (np.diff(few_x) > 0).all()
    assert (few_y.min(), few_y.max()) == (y.min(), y.max())
    np.testing.assert_array_equal(few_y, y[few_x.astype(int)])


def test_short_curves_are_left_alone():
    x, y = thinned([1, 2, 3], [3.0, 1.0, 2.0], 3)
    assert (x.tolist(), y.tolist()) == ([1, 2, 3], [3, 1, 2])
