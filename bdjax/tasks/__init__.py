"""Tasks: what the networks under test classify, and how the field trains them."""

import functools
from collections.abc import Callable

from bdjax import checks
from bdjax.tasks.adult import ADULT
from bdjax.tasks.base import IMAGES, SERIES, TABLES, TEXT, WAVES, Modality, Task
from bdjax.tasks.breast_cancer import BREAST_CANCER
from bdjax.tasks.cifar10 import CIFAR10
from bdjax.tasks.mnist import MNIST
from bdjax.tasks.mr import MR, parse_reviews
from bdjax.tasks.npz import make_task
from bdjax.tasks.power import POWER
from bdjax.tasks.speech import SPEECH
from bdjax.types import UserError

TASKS = {
    task.name: task
    for task in (ADULT, BREAST_CANCER, CIFAR10, MNIST, MR, POWER, SPEECH)
}
"""Name -> task; a new task is a new file and one name here."""

PARAMETRIC: dict[str, Callable[[str], Task]] = {"mr": parse_reviews, "npz": make_task}
"""What stands before the colon of a name such as ``npz:28x28x1:10`` -> its maker.

The maker is given what stands behind it, and raises ``UserError`` where that is wrong.
"""


def get_task(name: str) -> Task:
    """The registered task ``name``, or what :data:`PARAMETRIC` makes of it.

    Raises:
      UserError: no such task.
    """
    if name in TASKS:
        return TASKS[name]
    kind, colon, rest = name.partition(":")
    if colon and kind in PARAMETRIC:
        return _made(kind, rest)
    known = [*sorted(TASKS), *(f"{kind}:..." for kind in sorted(PARAMETRIC))]
    raise UserError(f"unknown task {name!r}; {checks.there_are(known, name)}")


@functools.cache
def _made(kind: str, rest: str) -> Task:
    return PARAMETRIC[kind](rest)


__all__ = [
    "IMAGES",
    "PARAMETRIC",
    "SERIES",
    "TABLES",
    "TASKS",
    "TEXT",
    "WAVES",
    "Modality",
    "Task",
    "get_task",
]
