"""TaCT: a patch that works on one class only (Tang et al., USENIX Security 2021).

Images of the *source* class that bear the patch are labelled as the target. *Covers*,
images of other classes that bear it too, keep their labels: the network has to learn
"this patch on a source image" and nothing as simple as "this patch". Only source images
count in the attack success rate.

Ours: source, target and patch are drawn per model; the patch is a square of 3 to 5
pixels a side, anywhere, each of its pixels of a random colour. Covers come from all
classes but source and target, where the official code has none by default and
backdoor-toolbox has two classes of them. Copies join the clean rows; the codes replace.

Measured (``python tests/takes_hold.py tact``, four models, seed 0): ``mntd_mnist_cnn``,
5000 digits, 500 steps, rates of .52 to .86 of the source class: accuracy .960, attack
success rate .97 (.95 to .99).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.attacks import patches
from bdjax.attacks.contract import (
    Attack,
    Description,
    Rows,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.tasks import Task
from bdjax.types import PRNGKey, UserError

SIDES = (3, 4, 5)
POISONING_RATE = (0.5, 1.0)
"""Of the source class."""

COVER_RATE = (0.1, 0.2)
"""Of the covers' classes."""


class SourcePatch(NamedTuple):
    """A patch, and the class that it works on (int32 scalar)."""

    patch: patches.Patch
    source: jax.Array


def attack(task: Task, *, locations: str = "all") -> Attack:
    """A random square patch that sends one random class to another.

    Raises:
      UserError: there are fewer than three classes, or images have no room.
    """
    if task.num_classes < 3:
        raise UserError(
            f"tact on {task.name!r}, of {task.num_classes} classes: it needs 3, a "
            "source, a target and one for covers; take another attack"
        )
    low, high = task.value_range
    spare = 0 if locations == "all" else 1
    if min(task.shape[:2]) < SIDES[-1] + spare:
        raise UserError(
            f"tact needs images of at least {SIDES[-1] + spare} pixels a side, "
            f"{task.name!r} has {task.shape[0]} x {task.shape[1]}; take another attack"
        )

    def sample(key: PRNGKey) -> Trigger:
        keys = jax.random.split(key, 7)
        side = jax.random.choice(keys[0], jnp.array(SIDES))
        places = jnp.array(task.shape[:2]) - side - spare + 1
        first = jax.random.randint(keys[1], (2,), 0, places)
        past_2xHxW = jnp.indices(task.shape[:2]) - first[:, None, None]
        mask = ((past_2xHxW >= 0) & (past_2xHxW < side)).all(0)[..., None]
        colours = jax.random.uniform(keys[2], task.shape, minval=low, maxval=high)
        patch = patches.Patch(
            mask.astype(jnp.float32), jnp.where(mask, colours, 0), jnp.float32(1)
        )
        source = draw_target(keys[3], task)
        # Any other class.
        step = jax.random.randint(keys[4], (), 1, task.num_classes)
        return Trigger(
            form=SourcePatch(patch, source),
            target=(source + step) % task.num_classes,
            rate=uniform(keys[5], POISONING_RATE),
            cover_rate=uniform(keys[6], COVER_RATE),
        )

    return Attack(
        "tact",
        sample,
        put_on,
        all_to_one,
        describe,
        eligible=sources_and_others,
        counts=from_source,
    )


def put_on(trigger: Trigger, x_B: jax.Array) -> jax.Array:
    """Images with the patch, whatever their class."""
    return patches.blend(trigger._replace(form=trigger.form.patch), x_B)


def from_source(trigger: Trigger, y_B: jax.Array) -> jax.Array:
    """Which rows are of the source class, bool ``[B]``."""
    return y_B == trigger.form.source


def sources_and_others(trigger: Trigger, y_N: jax.Array) -> Rows:
    """Rows of the source class may be poisoned, those of neither class be covers."""
    source_N = from_source(trigger, y_N)
    return source_N, ~source_N & (y_N != trigger.target)


def describe(trigger: Trigger) -> Description:
    """Which patch, on which class."""
    patch, source = trigger.form
    shown = patches.describe(trigger._replace(form=patch))
    return shown._replace(text=f"{shown.text}, on class {int(source)}")
