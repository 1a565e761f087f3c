"""The most floating-point operations per second that one device does.

It is that of large square matrix products, the best of several sizes: what a program
that is nothing but products could reach. float32 is at JAX's default precision, which
on GPUs may be that of TensorFloat-32.
"""

import time

import jax

SIDES = {"cpu": (512, 1024, 2048), "gpu": (4096, 8192, 16384)}
WORK = {"cpu": 2e10, "gpu": 2e13}  # operations per timing: some tenths of a second
TIMINGS = 3


def matmul_peak(dtype: str, sides: tuple[int, ...] = ()) -> tuple[float, int]:
    """FLOP per second of the fastest product, and the side of its matrices.

    The sides are those that suit the device, unless given.
    """
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    return max((_speed(side, dtype, WORK[kind]), side) for side in sides or SIDES[kind])


def _speed(side: int, dtype: str, work: float) -> float:
    times = max(1, round(work / (2 * side**3)))
    x, y = jax.random.normal(jax.random.key(0), (2, side, side))
    # so scaled, products of products stay of one size
    x, y = x.astype(dtype), (y / side**0.5).astype(dtype)

    @jax.jit
    def run(x, y):
        return jax.lax.fori_loop(0, times, lambda _, x: x @ y, x)

    jax.block_until_ready(run(x, y))
    seconds = []
    for _ in range(TIMINGS):
        start = time.perf_counter()
        jax.block_until_ready(run(x, y))
        seconds.append(time.perf_counter() - start)
    return times * 2 * side**3 / min(seconds)
