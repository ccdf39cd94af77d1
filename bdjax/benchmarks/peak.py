"""What the machine can do at most: products of square float32 matrices."""

import time
from typing import Any

import jax

from bdjax.benchmarks.timing import ABSENT, Sample, Section
from bdjax.engine import Layout

PRODUCTS = 24, 8  # one after the other; the fewer where it is to be quick


class Xla:
    """A chain of products on each of some devices, in XLA's default precision."""

    def __init__(self, name: str, devices: list[Any], *, side: int, products: int):
        """Makes the matrices."""
        self.name = f"XLA, {name}"
        self.device = f"{len(devices)} x {devices[0].platform}"
        layout = Layout(tuple(devices))
        shape = (len(devices), side, side)
        matrices = jax.random.uniform(jax.random.key(0), shape) / side
        self._matrices = layout.spread(matrices)

        def chain(a: jax.Array, _: None) -> jax.Array:
            return jax.lax.fori_loop(0, products, lambda _, b: b @ a, a)

        self._chain = jax.jit(lambda matrices: layout.map(chain, matrices, None))
        self._products = len(devices) * products

    def run(self, seconds: float) -> Sample:
        """Multiplies; a unit is a product."""
        del seconds
        start = time.perf_counter()
        jax.block_until_ready(self._chain(self._matrices))
        return Sample(time.perf_counter() - start, self._products)


def section(*, quick: bool = False, rivals: Any = None) -> Section:
    """Matrix products, timed; ``rivals`` are the :class:`pytorch.jobs.Processes`."""
    devices = jax.local_devices()
    side = 1024 if jax.default_backend() == "cpu" else 8192
    shape = {"side": side, "products": PRODUCTS[quick]}
    return Section(
        name="matmul",
        title=f"The machine: products of {side} x {side} float32 matrices",
        unit="product",
        contenders=[
            Xla("one device", devices[:1], **shape),
            Xla("all devices at once", devices, **shape),
            *(rivals.matmul(**shape) if rivals else ABSENT),
        ],
        repeats=3 if quick else 12,
        flop=2 * side**3,
    )
