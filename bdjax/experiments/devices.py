"""What devices can do: data sheets, and this machine as measured in two seconds."""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import checks
from bdjax.engine import Layout
from bdjax.population import Execution
from bdjax.population.flops import Work
from bdjax.types import UserError

HERE = "here"
TERA, GIGA = 10**12, 10**9
PATIENCE = 0.5  # seconds of timing

# Useful arithmetic as a share of the matrix products' peak. Measured: MNTD's MNIST
# network in float32 on two x86-64 cores with AVX-512, 6.0 ms a model-step where 278
# GFLOP/s are the peak of both; its meta-training, 1.28 ms a step of a repeat, which one
# of two devices does.
MEASURED = {"training": 0.44, "meta": 0.3}
ASSUMED = {"training": 0.3, "meta": 0.1}


@dataclasses.dataclass(frozen=True)
class Device:
    """Some devices of one kind, working side by side.

    Attributes:
      name: key in :data:`DEVICES`, or ``"here"``.
      peak: FLOP/s of one device's dense matrix products, by precision.
      bandwidth: bytes/s that one device reads and writes.
      memory_bytes: of one device; a CPU's devices share it.
      efficiency: share of peak and bandwidth that ``"training"`` and ``"meta"`` reach,
        in useful arithmetic.
      is_measured: whether somebody saw that efficiency, or it is assumed.
      disk: bytes/s that are written; assumed unless measured here.
      count: how many devices.
      is_cpu: whether models train one at a time on each, and all share the memory.
    """

    name: str
    peak: Mapping[str, float]
    bandwidth: float
    memory_bytes: int
    efficiency: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(ASSUMED)
    )
    is_measured: bool = False
    disk: float = 1.0 * GIGA
    count: int = 1
    is_cpu: bool = False

    def __post_init__(self):
        checks.at_least(1, devices=self.count)

    def peak_in(self, precision: str) -> float:
        """FLOP/s of one device's products; the nearest precision it is known for."""
        return self.peak.get(precision) or min(self.peak.values())

    def slowest(
        self, work: Work, kind: str, precision: str, disk_bytes: float = 0
    ) -> tuple[float, str]:
        """Seconds that one device needs, and the part of the work that bounds them.

        Args:
          work: useful arithmetic, and bytes from and to memory.
          kind: ``"training"`` or ``"meta"``.
          precision: of the products.
          disk_bytes: written.
        """
        share = self.efficiency[kind]
        return max(
            (work.flops / (self.peak_in(precision) * share), "arithmetic"),
            (work.bytes / (self.bandwidth * share), "bandwidth"),
            (disk_bytes / self.disk, "disk"),
        )


def _peak(float32: float, tf32: float, bfloat16: float) -> dict[str, float]:
    tera = {"float32": float32, "tf32": tf32, "bfloat16": bfloat16}
    return {name: value * TERA for name, value in tera.items()}


# Data sheets: dense, no sparsity; NVIDIA's in the SXM form.
DEVICES = {
    "h100": Device("h100", _peak(67, 494.7, 989.4), 3.35 * TERA, 80 * GIGA),
    "h200": Device("h200", _peak(67, 494.7, 989.4), 4.8 * TERA, 141 * GIGA),
    "a100": Device("a100", _peak(19.5, 156, 312), 2.039 * TERA, 80 * GIGA),
    # XLA makes a float32 product of six bfloat16 ones, or of three where tf32 will do.
    "tpu-v5e": Device("tpu-v5e", _peak(197 / 6, 197 / 3, 197), 819 * GIGA, 16 * GIGA),
}


def get_device(
    name: str, *, count: int, precision: str, working_set: int, directory: Path
) -> Device:
    """The device ``name``; ``"here"`` is measured.

    Args:
      name: a key of :data:`DEVICES`, or ``"here"``.
      count: how many; 0 for one, or for all devices of this machine.
      precision: here: of the matrix products to time.
      working_set: here: bytes that one model trains in. On a CPU a copy as large is
        timed, since caches hold it.
      directory: here: on the disk to time; it need not exist yet.

    Raises:
      UserError: no such device, fewer than one, or more than this machine has.
    """
    check(name)
    if name == HERE:
        return _measure(count, precision, working_set, directory)
    return dataclasses.replace(DEVICES[name], count=1 if count == 0 else count)


def check(name: str) -> None:
    """Raises UserError unless there is a device ``name``."""
    if name != HERE and name not in DEVICES:
        raise UserError(
            f"unknown device {name!r}; there are {[HERE, *sorted(DEVICES)]}"
        )


def _measure(count: int, precision: str, working_set: int, directory: Path) -> Device:
    devices = Execution(devices=count).local_devices()
    is_cpu = devices[0].platform == "cpu"
    if is_cpu:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        memory = (devices[0].memory_stats() or {}).get("bytes_limit", 16 * GIGA)
    side, copied = (1024, min(working_set, 2**26)) if is_cpu else (8192, GIGA)
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    products, passes = 8, max(16, GIGA // 2 // copied)
    with jax.default_matmul_precision(
        "tensorfloat32" if precision == "tf32" else "highest"
    ):
        product_seconds = _seconds(
            devices,
            lambda a: jax.lax.fori_loop(0, products, lambda _, b: b @ a, a),
            jnp.full((side, side), 1 / side, dtype),
        )
    copy_seconds = _seconds(
        devices,
        lambda a: jax.lax.fori_loop(0, passes, lambda _, b: b * 0.5 + 1, a),
        jnp.zeros(max(1, copied // 4), jnp.float32),
    )
    return Device(
        name=HERE,
        peak={precision: 2 * side**3 * products / product_seconds},
        bandwidth=2 * copied * passes / copy_seconds,
        memory_bytes=memory,
        efficiency=dict(MEASURED if is_cpu else ASSUMED),
        is_measured=is_cpu and precision == "float32",
        disk=_disk(directory),
        count=len(devices),
        is_cpu=is_cpu,
    )


def _seconds(
    devices: list[Any], function: Callable[[jax.Array], jax.Array], value: jax.Array
) -> float:
    """Least seconds in which all devices do it at once, each on a copy of ``value``."""
    stacked = np.broadcast_to(np.asarray(value), (len(devices), *value.shape))
    values = Layout(tuple(devices)).spread(stacked)
    run = jax.jit(jax.vmap(function))
    jax.block_until_ready(run(values))
    begun, least = time.perf_counter(), float("inf")
    while time.perf_counter() - begun < PATIENCE:
        start = time.perf_counter()
        jax.block_until_ready(run(values))
        least = min(least, time.perf_counter() - start)
    return least


def _disk(directory: Path) -> float:
    """Bytes a second that reach the disk of ``directory``, or of what it will be in."""
    directory = directory.absolute()
    while not directory.is_dir():
        directory = directory.parent
    block, blocks = os.urandom(2**20), 64
    with tempfile.TemporaryFile(dir=directory) as file:
        start = time.perf_counter()
        for _ in range(blocks):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return blocks * len(block) / (time.perf_counter() - start)
