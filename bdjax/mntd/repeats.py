"""Where the repeats of a fit are computed."""

from collections.abc import Sequence

import jax

from bdjax.engine import Layout
from bdjax.types import Variables

LARGE = 500_000  # parameters of a network


def layout_of(count: int, groups: Sequence[Variables]) -> Layout:
    """The fastest way known for ``count`` repeats on groups of stacked models.

    On an accelerator repeats are dealt out to the devices, which ``vmap`` theirs. A CPU
    does so on one of its devices with small networks. With large ones, each device
    takes its repeats one after the other: kernels that differ by repeat make
    convolutions slow (a step of five repeats of MNTD's CIFAR-10 network took 380 ms
    together and 92 ms so, on two cores; its MNIST network 9 and 14 ms).
    """
    devices = jax.local_devices()
    if devices[0].platform != "cpu":
        return Layout(tuple(devices[:count]))
    parameters = max(
        sum(leaf.size // leaf.shape[0] for leaf in jax.tree.leaves(models_M))
        for models_M in groups
    )
    if parameters < LARGE:
        return Layout(tuple(devices[:1]))
    return Layout(tuple(devices[:count]), width=1)
