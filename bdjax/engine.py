"""The one place that maps over stacked models, repeats or cases, on all devices.

Entries are dealt out to the devices, each of which takes its own some at a time. The
policy where memory runs out is here, too: halve how many, say so, and go on.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax import tree
from bdjax.types import CapacityError, PyTree

Note = Callable[[str], None]
"""Told, in one sentence, what the user should know."""

_AXIS = "entries"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How stacked entries are computed; hashable, so that programs can depend on it.

    Attributes:
      devices: which take part.
      width: entries that a device advances at once by ``vmap``; 1: one after the other;
        0: all of its own.
    """

    devices: tuple[jax.Device, ...]
    width: int = 0

    @property
    def mesh(self) -> Mesh:
        """The devices in a row."""
        return jax.make_mesh(
            (len(self.devices),), (_AXIS,), (AxisType.Auto,), devices=self.devices
        )

    def everywhere(self, arrays: PyTree) -> PyTree:
        """A copy on each device; what is there already stays."""
        return jax.device_put(arrays, NamedSharding(self.mesh, P()))

    def spread(self, stacked: PyTree) -> PyTree:
        """Leaves ``[K, ...]`` over the devices, K a multiple of their number."""
        return jax.device_put(stacked, NamedSharding(self.mesh, P(_AXIS)))

    def padded(self, count: int) -> int:
        """The next multiple of the number of devices."""
        return -(-count // len(self.devices)) * len(self.devices)

    def pad(self, stacked: PyTree) -> PyTree:
        """As many more of the last of the K entries as :meth:`padded` says."""
        count = tree.count(stacked)
        if self.padded(count) == count:
            return stacked
        return tree.index(
            stacked, jnp.minimum(jnp.arange(self.padded(count)), count - 1)
        )

    def map(
        self, one: Callable[[PyTree, PyTree], PyTree], stacked: PyTree, shared: PyTree
    ) -> PyTree:
        """``one(entry, shared)`` of every entry, inside ``jit``.

        Args:
          one: of one entry.
          stacked: leaves ``[K, ...]`` of any K.
          shared: what all entries see.

        Returns:
          Leaves ``[K, ...]``.
        """

        def local(stacked: PyTree, shared: PyTree) -> PyTree:
            if self.width == 0:
                return jax.vmap(one, in_axes=(0, None))(stacked, shared)
            batch = self.width if self.width > 1 else None
            return jax.lax.map(lambda e: one(e, shared), stacked, batch_size=batch)

        count = tree.count(stacked)
        result = self.shard(local, self.pad(stacked), shared)
        return tree.index(result, slice(count))

    def shard(
        self, local: Callable[[PyTree, PyTree], PyTree], stacked: PyTree, shared: PyTree
    ) -> PyTree:
        """``local(entries of a device, shared)`` on every device, inside ``jit``.

        Args:
          local: of stacked entries, which it gives back stacked.
          stacked: leaves ``[K, ...]``, K a multiple of the number of devices.
          shared: what all entries see.
        """
        mapped = jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(P(_AXIS), P()),
            out_specs=P(_AXIS),
            # The loops' carries start unsharded inside each shard's own entries.
            check_vma=False,
        )
        return mapped(stacked, shared)


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether XLA ran out of device memory."""
    text = str(error)
    return "RESOURCE_EXHAUSTED" in text or "Out of memory" in text


def halved(width: int, error: jax.errors.JaxRuntimeError, note: Note, fix: str) -> int:
    """Half the width, after an error of the device; ``note`` is told.

    Raises:
      CapacityError: the width is 1 already; ``fix`` says what else can be done.
      jax.errors.JaxRuntimeError: the error, if memory is not what it is about.
    """
    if not is_out_of_memory(error):
        raise error
    if width <= 1:
        raise CapacityError(f"out of device memory at a width of 1; {fix}") from error
    note(f"out of device memory: going on with a width of {width // 2}")
    return width // 2
