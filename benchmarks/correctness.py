"""Whether the device computes what it should, before anybody asks how fast.

Gradients of both world models in float32, their products at full precision, beside
float64 on the CPU; bfloat16 beside float32; and the canary of tests/test_canary.py. The
noise of the latents is the same float32 numbers everywhere.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from dreamer_leq import config as configs
from dreamer_leq.run import build
from dreamer_leq.world_models.latent import LatentNet, ObservationSpec
from dreamer_leq.world_models.rssm import RSSM

Row = dict[str, Any]
# By how much gradients may differ, relative to their norm.
LIMITS = {"canary": 1e-4, "latent": 1e-2, "ensemble": 1e-3, "bfloat16": 0.5}
_ACTIONS, _BATCH, _LENGTH = 6, 4, 8


def checks(preset: str) -> list[Row]:
    """What was compared: name, relative error, its limit, and whether it held."""
    sixes = [("canary", canary), ("ensemble", ensemble)]
    rows = [_row(name, LIMITS[name], error()) for name, error in sixes]
    precise, coarse = latent(preset)
    rows.append(_row("latent", LIMITS["latent"], precise))
    return [*rows, _row("bfloat16", LIMITS["bfloat16"], coarse)]


def _row(name: str, limit: float, error: float) -> Row:
    return {"name": name, "error": error, "limit": limit, "holds": bool(error < limit)}


def canary() -> float:
    """Vector-Jacobian products that are mapped, beside those one by one."""

    def network(params, x):
        enter, leave = params
        hidden = x @ enter
        hidden = hidden - hidden.mean(-1, keepdims=True)
        variance = jnp.square(hidden).mean(-1, keepdims=True)
        return jax.nn.relu(hidden * jax.lax.rsqrt(variance + 1e-6)) @ leave

    def pullback(params, x, direction):
        return jax.vjp(network, params, x)[1](direction)

    rng = np.random.default_rng(0)
    shapes = ((23, 200), (200, 18), (256, 23), (11, 256, 18))
    *params, x, directions = (jnp.float32(rng.normal(size=s)) for s in shapes)
    with jax.default_matmul_precision("highest"):
        mapped = jax.jit(jax.vmap(pullback, (None, None, 0)))(params, x, directions)
        each = [jax.jit(pullback)(params, x, one) for one in directions]
    return _error(mapped, jax.tree.map(lambda *rows: jnp.stack(rows), *each))


def ensemble() -> float:
    """Of the ensemble of MLPs, at the paper's size."""
    config = configs.from_presets("d4rl_mujoco")
    net = build.ensemble_net(config, ObservationSpec(0, 17, _ACTIONS))
    rng = np.random.default_rng(1)
    shapes = [(net.config.members, 256, n) for n in (17 + _ACTIONS, 18)]
    data = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    gradient = lambda params, x, y: jax.grad(net.loss, has_aux=True)(params, x, y)[0]  # noqa: E731
    params = jax.device_get(jax.jit(net.init)(jax.random.key(0)))
    return _error(_on_device(gradient, params, *data), _exact(gradient, params, *data))


def latent(preset: str) -> tuple[float, float]:
    """Of the RSSM: in float32 beside float64, and in bfloat16 beside float32."""
    config = configs.from_presets(preset)
    side = config.data.image_size
    net = LatentNet(config.latent, ObservationSpec(side, 0, _ACTIONS), jnp.float32)
    params = jax.device_get(jax.jit(net.init)(jax.random.key(0)))
    batch, key = _sequences(side), jax.random.key(3)

    def gradient(dtype) -> Callable:
        own = replace(net, dtype=dtype)
        return lambda params, batch: jax.grad(own.loss, has_aux=True)(
            params, batch, key
        )[0]

    with mock.patch.object(RSSM, "gumbel", _noise):
        single = _on_device(gradient(jnp.float32), params, batch)
        exact = _exact(gradient(jnp.float64), params, batch)
        coarse = _on_device(gradient(jnp.bfloat16), params, batch, precision=None)
    return _error(single, exact), _error(coarse, single)


def _noise(rssm: RSSM, key: jax.Array, n: int) -> jax.Array:
    shape = (n, rssm.stoch, rssm.classes)
    return jax.random.gumbel(key, shape, jnp.float32)


def _sequences(side: int) -> dict[str, np.ndarray]:
    rng, shape = np.random.default_rng(2), (_BATCH, _LENGTH)
    return {
        "image": rng.integers(0, 256, (*shape, side, side, 3), np.uint8),
        "action": rng.uniform(-1, 1, (*shape, _ACTIONS)).astype(np.float32),
        "reward": rng.uniform(0, 2, shape).astype(np.float32),
        "is_first": np.arange(_LENGTH)[None].repeat(_BATCH, 0) == 0,
        "is_terminal": np.zeros(shape, bool),
    }


def _on_device(function: Callable, *data: Any, precision: str | None = "highest"):
    with jax.default_matmul_precision(precision):
        return jax.device_get(jax.jit(function)(*data))


def _exact(function: Callable, *data: Any) -> Any:
    """In float64 on the CPU."""

    def double(x):
        return x.astype(np.float64) if x.dtype == np.float32 else x

    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return jax.device_get(jax.jit(function)(*jax.tree.map(double, data)))


def _error(found: Any, exact: Any) -> float:
    """Of trees of arrays, relative to the norm of all that is exact."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    wide = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    difference = sum(np.square(a - b).sum() for a, b in wide)
    return float(np.sqrt(difference / sum(np.square(b).sum() for _, b in wide)))
