"""What most attacks draw alike."""

from typing import Any

import jax

from bdjax.attacks.contract import Trigger
from bdjax.tasks import Task
from bdjax.types import PRNGKey, PyTree


def draw_target(key: PRNGKey, task: Task) -> jax.Array:
    """Any label of the task; int32 scalar."""
    return jax.random.randint(key, (), 0, task.num_classes)


def uniform(
    key: PRNGKey, bounds: tuple[float, float], shape: tuple[int, ...] = ()
) -> jax.Array:
    """Float32, by default a scalar, in ``[bounds[0], bounds[1])``."""
    return jax.random.uniform(key, shape, minval=bounds[0], maxval=bounds[1])


def targeted(
    form: PyTree, keys: Any, task: Task, rates: tuple[float, float]
) -> Trigger:
    """A trigger of this form, of any target and of a rate in ``rates``: two keys."""
    key_target, key_rate = keys
    return Trigger(form, draw_target(key_target, task), uniform(key_rate, rates))
