"""Every rule just inside and just outside each of its bounds."""

import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_leq.world_models.termination import Termination

EPS = 1e-3
NAN, INF = float("nan"), float("inf")


def done(rule, point):
    return bool(Termination(rule).done(jnp.float32(point)))


def changed(base, index, value):
    point = list(base)
    point[index] = value
    return point


def healthy(size, **heights):
    point = [0.0] * size
    for index, value in heights.items():
        point[int(index[1:])] = value
    return point


HEALTHY = {
    "hopper": healthy(11, i0=1.25),
    "walker2d": healthy(17, i0=1.25),
    "halfcheetah": healthy(17),
    "hopper_x": healthy(12, i1=1.25),
    "walker2d_x": healthy(18, i1=1.25),
}
# rule, index, lower bound, upper bound; None: there is none on that side
BOUNDS = [
    ("hopper", 0, 0.7, None),
    ("hopper", 1, -0.2, 0.2),
    *[("hopper", i, -100, 100) for i in (2, 5, 10)],
    ("walker2d", 0, 0.8, 2.0),
    ("walker2d", 1, -1, 1),
    *[("walker2d", i, -100, 100) for i in (2, 8, 16)],
    *[("halfcheetah", i, -100, 100) for i in (0, 1, 8, 16)],
    ("hopper_x", 1, 0.7, None),
    ("hopper_x", 2, -0.2, 0.2),
    *[("hopper_x", i, -100, 100) for i in (3, 7, 11)],
    ("walker2d_x", 1, 0.8, 2.0),
    ("walker2d_x", 2, -1, 1),
    *[("walker2d_x", i, -100, 100) for i in (3, 9, 17)],
]


@pytest.mark.parametrize("rule", HEALTHY)
def test_a_healthy_state_goes_on(rule):
    assert not done(rule, HEALTHY[rule])


@pytest.mark.parametrize("rule, index, low, high", BOUNDS)
def test_bounds(rule, index, low, high):
    base = HEALTHY[rule]
    for bound, outwards in ((low, -1), (high, 1)):
        if bound is None:
            continue
        assert not done(rule, changed(base, index, bound - outwards * EPS))
        assert done(rule, changed(base, index, bound + outwards * EPS))


def test_height_of_a_hopper_has_no_upper_bound():
    for rule, index in (("hopper", 0), ("hopper_x", 1)):
        assert not done(rule, changed(HEALTHY[rule], index, 150.0))


def test_x_position_is_free():
    for rule in ("hopper_x", "walker2d_x"):
        for x in (-1e4, 1e4):
            assert not done(rule, changed(HEALTHY[rule], 0, x))


def test_a_hopper_far_below_the_lower_bound_has_ended():
    """The public code forgets this side: |obs < 100| is true there."""
    assert done("hopper", changed(HEALTHY["hopper"], 7, -1e6))


@pytest.mark.parametrize("rule", ["hopper", "walker2d", "halfcheetah"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_nothing_infinite_goes_on(rule, value):
    for index in range(len(HEALTHY[rule])):
        assert done(rule, changed(HEALTHY[rule], index, value)), index


def test_never_is_never():
    rng = np.random.default_rng(0)
    far = jnp.float32(1e3 * rng.normal(size=(50, 18)))
    assert not Termination("never").done(far).any()
    assert Termination("never").done(far).shape == (50,)


@pytest.mark.parametrize("radius", [0.25, 0.5])
@pytest.mark.parametrize("goal", [(0.75, 8.75), (52.75, 36.75)])
def test_a_goal_is_a_disc(radius, goal):
    rule = Termination("goal", goal, radius)
    angle = np.linspace(0, 2 * np.pi, 24)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    rest = np.full((24, 27), 1e3)  # the ant may lie as it likes
    for share, inside in ((0.0, True), (0.99, True), (1.01, False), (40, False)):
        point = np.concatenate([goal + share * radius * ring, rest], -1)
        actual = rule.done(jnp.float32(point))
        assert (np.asarray(actual) == inside).all(), share
        np.testing.assert_array_equal(rule.at_goal(jnp.float32(point)), actual)


def test_on_the_rim_nothing_is_reached():
    rule = Termination("goal", (1.0, 2.0), 0.5)
    assert not rule.done(jnp.float32([1.5, 2.0]))
    assert rule.done(jnp.float32([1.5 - 1e-4, 2.0]))


@pytest.mark.parametrize("rule", [*HEALTHY, "never"])
def test_any_batch_shape(rule):
    size = len(HEALTHY.get(rule, [0.0] * 4))
    rng = np.random.default_rng(1)
    state = jnp.float32(rng.normal(size=(3, 5, size)))
    actual = np.asarray(Termination(rule).done(state))
    assert actual.shape == (3, 5)
    for i, j in np.ndindex(3, 5):
        assert actual[i, j] == done(rule, state[i, j])
