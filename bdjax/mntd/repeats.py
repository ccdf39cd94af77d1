"""Where the repeats of a fit are computed."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax.types import PyTree, Variables

LARGE = 500_000  # parameters of a network


@dataclasses.dataclass(frozen=True)
class Repeats:
    """How many repeats, and whether a device advances its repeats together.

    On an accelerator they are dealt out to the devices, which ``vmap`` theirs. A CPU
    does so on one of its devices with small networks. With large ones, each device
    takes its repeats one after the other: kernels that differ by repeat make
    convolutions slow (a step of five repeats of MNTD's CIFAR-10 network took 380 ms
    together and 92 ms so, on two cores; its MNIST network 9 and 14 ms).
    """

    count: int
    together: bool
    devices: tuple[jax.Device, ...]

    def over(
        self, one: Callable[..., PyTree], mapped_R: tuple, shared: tuple
    ) -> PyTree:
        """``one(*mapped, *shared)`` for every repeat.

        Args:
          one: of one repeat.
          mapped_R: its arguments that differ, leading axis ``[count]``.
          shared: those that do not.
        """
        padded = -(-self.count // len(self.devices)) * len(self.devices)
        rows = jnp.minimum(jnp.arange(padded), self.count - 1)

        def local(mapped_R, shared):
            if self.together:
                return jax.vmap(lambda *mapped: one(*mapped, *shared))(*mapped_R)
            return jax.lax.map(lambda mapped: one(*mapped, *shared), mapped_R)

        result = jax.shard_map(
            local,
            mesh=self._mesh(),
            in_specs=(P("repeats"), P()),
            out_specs=P("repeats"),
            check_vma=False,  # the loops' carries start unsharded
        )(jax.tree.map(lambda leaf: leaf[rows], mapped_R), shared)
        return jax.tree.map(lambda leaf: leaf[: self.count], result)

    def place(self, arrays: PyTree) -> PyTree:
        """A copy on each device that has repeats to do; what is there already stays."""
        return jax.device_put(arrays, NamedSharding(self._mesh(), P()))

    def _mesh(self) -> Mesh:
        return jax.make_mesh(
            (len(self.devices),), ("repeats",), (AxisType.Auto,), devices=self.devices
        )


def repeats_of(count: int, groups: Sequence[Variables]) -> Repeats:
    """The fastest way known for ``count`` repeats on such groups of stacked models."""
    devices = jax.local_devices()
    together = True
    if devices[0].platform == "cpu":
        sizes = [
            sum(leaf.size // leaf.shape[0] for leaf in jax.tree.leaves(models_M))
            for models_M in groups
        ]
        together = max(sizes) < LARGE
        devices = devices[:1] if together else devices
    return Repeats(count, together, tuple(devices[:count]))
