"""The optimizer against loops over NumPy float64 numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamer_leq.nn.optimizer import (
    adaptive_gradient_clip,
    by_group,
    learning_rate_schedule,
    make_optimizer,
    scale_by_laprop,
)


def tree(seed, scale=1.0):
    """Leaves of every kind: kernel, bias, norm scale, scalar."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (6, 4), "bias": (4,), "scale": (3,), "one": ()}
    return {
        name: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for name, shape in shapes.items()
    }


def scaled(values, factor):
    return jax.tree.map(lambda x: x * factor, values)


def norm(x):
    return float(np.sqrt(np.sum(np.square(np.asarray(x, np.float64)))))


def clip(gradients, params, **options):
    transform = adaptive_gradient_clip(**options)
    return transform.update(gradients, transform.init(params), params)[0]


def run(transform, params, gradients):
    """Updates of all steps, and the parameters after them."""
    state, updates = transform.init(params), []
    step = jax.jit(transform.update)
    for gradient in gradients:
        update, state = step(gradient, state, params)
        params = optax.apply_updates(params, update)
        updates.append(update)
    return updates, params


# --- adaptive gradient clipping -------------------------------------------------------


def test_small_gradients_pass_unchanged():
    params, gradients = tree(0), scaled(tree(1), 0.01)
    assert all(norm(gradients[k]) < 0.3 * norm(params[k]) for k in params)
    jax.tree.map(np.testing.assert_array_equal, clip(gradients, params), gradients)


@pytest.mark.parametrize("ratio", [0.1, 0.3])
def test_large_gradients_keep_direction_and_get_the_bound_as_norm(ratio):
    params, gradients = tree(2), scaled(tree(3), 50.0)
    clipped = clip(gradients, params, clip=ratio)
    for name, gradient in gradients.items():
        bound = ratio * norm(params[name])
        np.testing.assert_allclose(norm(clipped[name]), bound, rtol=1e-5)
        expected = np.asarray(gradient, np.float64) / norm(gradient) * bound
        np.testing.assert_allclose(clipped[name], expected, rtol=1e-5)


def test_each_leaf_is_judged_alone():
    params, gradients = tree(4), scaled(tree(5), 0.01)
    gradients["bias"] = gradients["bias"] * 1e6
    clipped = clip(gradients, params)
    for name in ("kernel", "scale", "one"):
        np.testing.assert_array_equal(clipped[name], gradients[name])
    np.testing.assert_allclose(
        norm(clipped["bias"]), 0.3 * norm(params["bias"]), rtol=1e-5
    )


def test_a_leaf_is_judged_as_a_whole_not_by_its_columns():
    """A column of zeros has a gradient: the other keeps the leaf under its bound."""
    params = {"kernel": jnp.asarray([[0.0, 10.0], [0.0, 10.0]])}
    gradients = {"kernel": jnp.asarray([[1.0, 0.0], [1.0, 0.0]])}
    np.testing.assert_array_equal(
        clip(gradients, params)["kernel"], gradients["kernel"]
    )


def test_parameters_of_zero_count_as_the_floor():
    params, gradients = {"w": jnp.zeros((2, 2))}, {"w": jnp.full((2, 2), 3.0)}
    np.testing.assert_allclose(norm(clip(gradients, params)["w"]), 0.3e-3, rtol=1e-5)
    raised = clip(gradients, params, clip=0.5, eps=0.1)
    np.testing.assert_allclose(norm(raised["w"]), 0.05, rtol=1e-5)
    below = {"w": jnp.full((2, 2), 1e-4)}  # norm 2e-4: under 0.3e-3, so untouched
    np.testing.assert_array_equal(clip(below, params)["w"], below["w"])


def test_gradients_of_zero_stay_zero():
    params = tree(6) | {"empty": jnp.zeros(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    jax.tree.map(np.testing.assert_array_equal, clip(zeros, params), zeros)


# --- LaProp ---------------------------------------------------------------------------


def laprop(gradients, beta1, beta2, eps):
    """One array's updates, scalar by scalar, in float64."""
    gradients = np.asarray(gradients, np.float64)
    result = np.zeros_like(gradients)
    for index in np.ndindex(gradients.shape[1:]):
        second, first = 0.0, 0.0
        for k, g in enumerate(gradients[(slice(None), *index)], start=1):
            second = beta2 * second + (1 - beta2) * g * g
            unit = g / (np.sqrt(second / (1 - beta2**k)) + eps)
            first = beta1 * first + (1 - beta1) * unit
            result[(k - 1, *index)] = first / (1 - beta1**k)
    return result


def uneven_gradients(steps, seed=7):
    """Trees whose size swings over four decades, so that the order of steps matters."""
    size = 10.0 ** np.random.default_rng(seed).uniform(-3, 1, steps)
    return [tree(100 + i, scale=s) for i, s in enumerate(size)]


@pytest.mark.parametrize(
    "options", [{}, {"beta1": 0.5, "beta2": 0.9}, {"beta1": 0.0}, {"eps": 0.1}]
)
def test_laprop_matches_the_loop(options):
    gradients = uneven_gradients(40)
    updates, _ = run(scale_by_laprop(**options), tree(8), gradients)
    settings = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-20} | options
    for name in gradients[0]:
        expected = laprop([g[name] for g in gradients], **settings)
        found = np.stack([u[name] for u in updates])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_laprop_is_not_adam():
    """After a spike the order matters: Adam's momentum keeps the spike's size."""
    gradients = [{"w": jnp.asarray([g])} for g in (1.0, 1.0, 100.0, 1.0, 1.0)]
    params = {"w": jnp.zeros(1)}
    found, _ = run(scale_by_laprop(), params, gradients)
    adam, _ = run(optax.scale_by_adam(0.9, 0.999, eps=1e-20), params, gradients)
    expected = laprop([g["w"] for g in gradients], 0.9, 0.999, 1e-20)
    np.testing.assert_allclose([u["w"] for u in found], expected, rtol=1e-4)
    assert abs(float(found[-1]["w"][0] - adam[-1]["w"][0])) > 0.1


def test_first_direction_is_the_sign():
    gradients = {"w": jnp.asarray([1e-6, -2e-3, 0.5, -70.0, 0.0])}
    (update,), _ = run(scale_by_laprop(), {"w": jnp.ones(5)}, [gradients])
    np.testing.assert_allclose(update["w"], [1, -1, 1, -1, 0], rtol=1e-5)


def test_laprop_state_is_float32_and_zero_gradients_give_zero():
    params = tree(9)
    transform = scale_by_laprop()
    for leaf in jax.tree.leaves(transform.init(params)):
        assert leaf.dtype == jnp.float32 or jnp.issubdtype(leaf.dtype, jnp.integer)
    zeros = jax.tree.map(jnp.zeros_like, params)
    for update in run(transform, params, [zeros] * 3)[0]:
        jax.tree.map(np.testing.assert_array_equal, update, zeros)


def test_check_value_of_the_chain_before_the_learning_rate():
    """|g| = 0.3 is below 0.3 |p| = 0.9, so nothing is clipped: the direction is 1."""
    transform = optax.chain(adaptive_gradient_clip(), scale_by_laprop())
    params = {"p": jnp.asarray([1.0, 2.0, 2.0])}
    gradients = {"p": jnp.asarray([0.1, 0.2, 0.2])}
    (update,), _ = run(transform, params, [gradients])
    np.testing.assert_allclose(update["p"], [1, 1, 1], rtol=1e-5)


# --- schedule -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_warmup_is_linear_from_exactly_zero(kind):
    schedule = learning_rate_schedule(4e-5, 1000, 150_000, kind=kind)
    assert float(schedule(jnp.asarray(0))) == 0.0
    assert float(schedule(0)) == 0.0
    for n in (1, 10, 500, 999, 1000):
        # float32 counts down from 1, so that little of it is lost in little
        np.testing.assert_allclose(
            schedule(jnp.asarray(n)), 4e-5 * n / 1000, rtol=1e-5, atol=4e-5 * 2e-7
        )


def test_cosine_falls_from_the_peak_to_zero_at_the_total():
    peak, warmup, total = 4e-5, 1000, 150_000
    schedule = jax.jit(learning_rate_schedule(peak, warmup, total, kind="cosine"))
    for n in (1001, 5000, 40_000, 75_500, 100_000, 149_000):
        expected = peak * 0.5 * (1 + np.cos(np.pi * (n - 1000) / 149_000))
        np.testing.assert_allclose(schedule(n), expected, rtol=1e-4, atol=1e-11)
    np.testing.assert_allclose(schedule(75_500), peak / 2, rtol=1e-5)
    for n in (total, total + 1, 3 * total):
        np.testing.assert_allclose(schedule(n), 0.0, atol=1e-12)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_a_phase_without_updates_has_a_schedule(kind, warmup):
    assert np.isfinite(learning_rate_schedule(1e-3, warmup, 0, kind)(0))


def test_constant_stays_at_the_peak():
    schedule = jax.jit(learning_rate_schedule(3e-4, 10, 100, kind="constant"))
    for n in (10, 50, 100, 1000):
        np.testing.assert_allclose(schedule(n), 3e-4, rtol=1e-6)


def test_cosine_is_the_default_kind():
    schedule = learning_rate_schedule(1.0, 10, 110)
    np.testing.assert_allclose(schedule(60), 0.5, rtol=1e-5)
    np.testing.assert_allclose(schedule(110), 0.0, atol=1e-6)


# --- the whole optimizer --------------------------------------------------------------


def reference_run(params, gradients, rate, warmup, total, agc):
    """Clip, LaProp, learning rate, in float64; parameters after every step."""
    params = {k: np.asarray(v, np.float64) for k, v in params.items()}
    first = {k: np.zeros_like(v) for k, v in params.items()}
    second = {k: np.zeros_like(v) for k, v in params.items()}
    path = []
    for n, gradient in enumerate(gradients):
        progress = np.clip((n - warmup) / (total - warmup), 0, 1)
        step = rate * min(n / warmup, 1) * 0.5 * (1 + np.cos(np.pi * progress))
        for k in params:
            g = np.asarray(gradient[k], np.float64)
            bound = agc * max(1e-3, norm(params[k]))
            g = g * min(1.0, bound / norm(g))
            second[k] = 0.999 * second[k] + 0.001 * g**2
            unit = g / np.sqrt(second[k] / (1 - 0.999 ** (n + 1)))
            first[k] = 0.9 * first[k] + 0.1 * unit
            params[k] = params[k] - step * first[k] / (1 - 0.9 ** (n + 1))
        path.append({k: v.copy() for k, v in params.items()})
    return path


@pytest.mark.parametrize("agc", [0.3, 0.01])
def test_optimizer_follows_the_reference_path(agc):
    """40 steps: all of the warm-up, then the cosine down to its end and past it."""
    params, gradients = tree(10), uneven_gradients(40)
    optimizer = make_optimizer(0.02, warmup=5, total=35, agc=agc)
    bounds = [agc * norm(params[k]) / norm(g[k]) for g in gradients for k in params]
    assert min(bounds) < 0.1 and max(bounds) > 1.5, "both sides of the clip are met"
    state, step = optimizer.init(params), jax.jit(optimizer.update)
    expected = reference_run(params, gradients, 0.02, 5, 35, agc)
    for gradient, target in zip(gradients, expected, strict=True):
        update, state = step(gradient, state, params)
        params = optax.apply_updates(params, update)
        for name, value in target.items():
            np.testing.assert_allclose(params[name], value, rtol=1e-4, atol=2e-5)


def test_first_update_is_exactly_zero_and_the_second_is_not():
    params, gradients = tree(11), tree(12)
    (first, second), _ = run(make_optimizer(), params, [gradients] * 2)
    for update in jax.tree.leaves(first):
        np.testing.assert_array_equal(update, np.zeros(update.shape))
    assert all(np.all(update != 0) for update in jax.tree.leaves(second))


def test_defaults_are_the_official_ones():
    """A constant gradient has direction 1, which shows the learning rate of a step."""
    params = {"p": jnp.asarray([1.0, 2.0, 2.0])}
    gradients = [{"p": jnp.asarray([0.1, 0.2, 0.2])}] * 12
    updates, _ = run(make_optimizer(), params, gradients)
    for n, update in enumerate(updates):
        np.testing.assert_allclose(update["p"], -4e-5 * n / 1000, rtol=1e-4, atol=1e-14)


def test_default_schedule_from_the_first_update_to_the_last():
    """All 150,000 updates of a constant gradient, whose direction is always 1."""
    params, gradients = {"p": jnp.ones(())}, {"p": jnp.asarray(0.1)}
    optimizer = make_optimizer()

    def step(state, _):
        update, state = optimizer.update(gradients, state, params)
        return state, update["p"]

    start = optimizer.init(params)
    _, updates = jax.jit(lambda s: jax.lax.scan(step, s, None, length=150_001))(start)
    n = np.arange(150_001)
    cosine = 0.5 * (1 + np.cos(np.pi * np.maximum(n - 1000, 0) / 149_000))
    expected = -4e-5 * np.minimum(n / 1000, 1) * cosine
    np.testing.assert_allclose(updates, expected, rtol=1e-3, atol=1e-10)


def test_constant_schedule_reaches_the_optimizer():
    params = {"p": jnp.full(3, 100.0)}
    optimizer = make_optimizer(0.01, warmup=2, total=4, schedule="constant")
    updates, _ = run(optimizer, params, [{"p": jnp.ones(3)}] * 8)
    np.testing.assert_allclose(
        [u["p"][0] for u in updates], -0.01 * np.array([0, 0.5, *[1] * 6]), rtol=1e-4
    )


# --- Adam, no clipping, no warm-up: the state experiments' ----------------------------


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_without_warmup_it_begins_at_the_peak(kind):
    schedule = learning_rate_schedule(3e-5, 0, 1000, kind)
    assert float(schedule(jnp.asarray(0))) == pytest.approx(3e-5, rel=1e-6)
    half, end = (float(schedule(jnp.asarray(n))) for n in (500, 1000))
    expected = (1.5e-5, 0.0) if kind == "cosine" else (3e-5, 3e-5)
    assert (half, end) == pytest.approx(expected, abs=1e-11)


def adam(gradients, rate, beta1, beta2, eps):
    """Kingma and Ba's Algorithm 1 for one array, in float64: updates of all steps."""
    first, second, updates = 0.0, 0.0, []
    for n, gradient in enumerate(np.asarray(gradients, np.float64), start=1):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        unbiased = second / (1 - beta2**n)
        step = first / (1 - beta1**n) / (np.sqrt(unbiased) + eps)
        updates.append(-rate * step)
    return np.stack(updates)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9)])
def test_adam_is_the_papers_algorithm(betas):
    """With gradients that a clip would change, from the first update on."""
    flags = dict(warmup=0, schedule="constant", agc=0, eps=1e-3, kind="adam")
    optimizer = make_optimizer(0.01, beta1=betas[0], beta2=betas[1], **flags)
    params, gradients = tree(20), uneven_gradients(30)
    assert any(norm(g[k]) > 0.3 * norm(params[k]) for g in gradients for k in params)
    updates, _ = run(optimizer, params, gradients)
    for name in params:
        found = np.stack([update[name] for update in updates])
        expected = adam([g[name] for g in gradients], 0.01, *betas, 1e-3)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
        assert (found[0] != 0).all()


def test_a_clip_of_zero_is_none():
    flags = dict(warmup=0, schedule="constant", eps=1e-3, kind="adam")
    params, gradients = tree(21), [scaled(tree(22), 1e-2), scaled(tree(23), 1e3)]
    plain, _ = run(make_optimizer(0.01, agc=0, **flags), params, gradients)
    loose, _ = run(make_optimizer(0.01, agc=1e9, **flags), params, gradients)
    tight, _ = run(make_optimizer(0.01, agc=1e-3, **flags), params, gradients)
    jax.tree.map(np.testing.assert_array_equal, plain, loose)
    assert norm(plain[1]["kernel"] - tight[1]["kernel"]) > 1e-4


# --- one for each group ---------------------------------------------------------------


def test_every_group_has_its_own_optimizer():
    alone = {"actor": optax.adam(1e-2), "critic": optax.sgd(0.5)}
    both = by_group(alone.__getitem__)
    params = {name: tree(30 + i) for i, name in enumerate(alone)}
    gradients = [{name: tree(40 + n) for name in alone} for n in range(4)]
    state = both.init(params)
    assert set(state) == {"actor", "critic"}
    _, after = run(both, params, gradients)
    for name, optimizer in alone.items():
        mine = [gradient[name] for gradient in gradients]
        _, expected = run(optimizer, params[name], mine)
        jax.tree.map(np.testing.assert_array_equal, after[name], expected)
        assert norm(after[name]["kernel"] - params[name]["kernel"]) > 1e-2


def test_a_group_without_an_optimizer_is_a_bug():
    with pytest.raises(KeyError, match="value"):
        by_group({"actor": optax.sgd(1.0)}.__getitem__).init({"value": tree(0)})


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e2])
def test_updates_ignore_the_scale_of_unclipped_gradients(factor):
    params = scaled(tree(13), 1e6)
    gradients = uneven_gradients(20)
    optimizer = make_optimizer(0.01, warmup=2, total=30)
    plain, _ = run(optimizer, params, gradients)
    other, _ = run(optimizer, params, [scaled(g, factor) for g in gradients])
    for one, two in zip(plain, other, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
            one,
            two,
        )


def test_leaves_without_gradient_stay_bit_identical():
    """No weight decay and no drift: what gets zero gradient is frozen for good."""
    params = tree(14)
    frozen = {"kernel": params["kernel"] * 1e3, "one": params["one"]}
    both = {"frozen": frozen, "live": params}
    zeros = jax.tree.map(jnp.zeros_like, frozen)
    gradients = [{"frozen": zeros, "live": g} for g in uneven_gradients(50)]
    _, after = run(make_optimizer(0.01, warmup=5, total=60), both, gradients)
    jax.tree.map(np.testing.assert_array_equal, after["frozen"], frozen)
    assert all(np.all(after["live"][k] != params[k]) for k in params)


def test_optimizer_minimises_a_badly_scaled_quadratic():
    curvature = jnp.asarray([1e-3, 1.0, 1e3])
    goal = jnp.asarray([1.0, -2.0, 3.0])
    optimizer = make_optimizer(0.05, warmup=20, total=600, agc=10.0)

    def step(carry, _):
        params, state = carry
        gradients = jax.grad(lambda p: jnp.sum(curvature * (p - goal) ** 2))(params)
        update, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, update), state), None

    params = jnp.ones(3)
    carry = (params, optimizer.init(params))
    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, None, length=600))(carry)
    np.testing.assert_allclose(params, goal, atol=0.02)
