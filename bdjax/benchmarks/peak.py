"""What the machine can do at most: products of square float32 matrices."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax.benchmarks.timing import ABSENT, Sample, Section

PRODUCTS = 24, 8  # one after the other; the fewer where it is to be quick


class Xla:
    """A chain of products on each of some devices, in XLA's default precision."""

    def __init__(self, name: str, devices: list[Any], *, side: int, products: int):
        """Makes the matrices."""
        self.name = f"XLA, {name}"
        self.device = f"{len(devices)} x {devices[0].platform}"
        mesh = jax.make_mesh(
            (len(devices),), ("models",), (AxisType.Auto,), devices=devices
        )
        shape = (len(devices), side, side)
        matrices = jax.random.uniform(jax.random.key(0), shape) / side
        self._matrices = jax.device_put(matrices, NamedSharding(mesh, P("models")))
        self._chain = jax.jit(functools.partial(_chain, mesh, products))
        self._products = len(devices) * products

    def run(self, seconds: float) -> Sample:
        """Multiplies; a unit is a product."""
        del seconds
        start = time.perf_counter()
        jax.block_until_ready(self._chain(self._matrices))
        return Sample(time.perf_counter() - start, self._products)


def _chain(mesh, products, matrices):
    def local(matrices):
        def multiply(i, a):
            del i
            return a @ matrices[0]

        return jax.lax.fori_loop(0, products, multiply, matrices[0])[None]

    return jax.shard_map(
        local, mesh=mesh, in_specs=P("models"), out_specs=P("models"), check_vma=False
    )(jnp.asarray(matrices))


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
