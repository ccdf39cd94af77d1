"""What the machine can do at most: products of square float32 matrices."""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax.benchmarks.timing import ABSENT, Sample, Section


@dataclasses.dataclass(frozen=True)
class Size:
    """How much work a timed run is.

    Attributes:
      side: of the matrices on a CPU.
      accelerator_side: of the matrices on an accelerator.
      products: one after the other.
      repeats: timed runs of each contender at most.
    """

    side: int = 1024
    accelerator_side: int = 8192
    products: int = 24
    repeats: int = 12

    @property
    def here(self) -> int:
        """The side that suits the backend."""
        return self.side if jax.default_backend() == "cpu" else self.accelerator_side


QUICK = Size(products=8, repeats=3)


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


def section(size: Size, rivals: Any = None) -> Section:
    """Matrix products, timed; ``rivals`` are the :class:`pytorch.jobs.Processes`."""
    devices = jax.local_devices()
    shape = {"side": size.here, "products": size.products}
    return Section(
        name="matmul",
        title=f"The machine: products of {size.here} x {size.here} float32 matrices",
        unit="product",
        contenders=[
            Xla("one device", devices[:1], **shape),
            Xla("all devices at once", devices, **shape),
            *(rivals.matmul(**shape) if rivals else ABSENT),
        ],
        repeats=size.repeats,
        weight=0.5,
        flop=2 * size.here**3,
    )
