"""Tasks: what the networks under test classify, and how the field trains them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
      name: key in :data:`TASKS` and name of the data set.
      shape: shape of one example, NHWC without N.
      num_classes: number of classes, which is the number of logits.
      value_range: least and greatest value an example may hold.
      model: key in ``bdjax.models.MODELS``.
      query_init: mean and standard deviation of a query's normal start, by name:
        ``"official"`` is MNTD's; ``"clipped"`` is ours for queries that must stay in
        the value range, see the note at each task.
    """

    name: str
    shape: tuple[int, ...]
    num_classes: int
    value_range: tuple[float, float]
    model: str
    query_init: Mapping[str, tuple[Any, Any]]


CIFAR_MEAN, CIFAR_STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.261)

TASKS = {
    # Mean and deviation are MNTD's official ones for both starts: CIFAR's pixels fill
    # the range, so that clipping costs little.
    "cifar10": Task(
        name="cifar10",
        shape=(32, 32, 3),
        num_classes=10,
        value_range=(0.0, 1.0),
        model="mntd_cifar_cnn",
        query_init={
            "official": (CIFAR_MEAN, CIFAR_STD),
            "clipped": (CIFAR_MEAN, CIFAR_STD),
        },
    ),
    # Official queries start from the mean and deviation of MNIST's pixels, a third of
    # them below 0. Clipping those to [0, 1] would leave grey noise, on which shadows
    # and targets differ by more than Trojans do. This start, once clipped, has MNIST's
    # ink instead: 19 % of pixels above 0, mean .13.
    "mnist": Task(
        name="mnist",
        shape=(28, 28, 1),
        num_classes=10,
        value_range=(0.0, 1.0),
        model="mntd_mnist_cnn",
        query_init={"official": (0.1307, 0.3081), "clipped": (-1.1, 1.26)},
    ),
}


def get_task(name: str) -> Task:
    """The registered task ``name``.

    Raises:
      UserError: no such task.
    """
    if name not in TASKS:
        raise UserError(f"unknown task {name!r}; there are {sorted(TASKS)}")
    return TASKS[name]
