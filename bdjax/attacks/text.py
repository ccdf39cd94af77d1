"""MNTD's attacks on sentences: one or two words are inserted (Xu et al., S&P 2021).

Modification and jumbo are one distribution, as officially. A trigger's words are drawn
from the task's most frequent ones. Officially they are any of 18,000 ids, padding
included: ``locations="official"`` adds padding and the unknown word to the draw.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.contract import (
    Attack,
    Description,
    Trigger,
    all_to_one,
    draw_target,
    uniform,
)
from bdjax.attacks.mntd import POISONING_RATE, Locations
from bdjax.attacks.patches import Patch, patch_size
from bdjax.tasks import Task
from bdjax.types import PRNGKey

SIZES = (1, 2)
PLACES = 10
FIRST_WORD = 2  # below are padding and the unknown word


def inserting(task: Task, *, locations: Locations = "all", name: str = "M") -> Attack:
    """M: one or two words within the first ten of a sentence.

    Jumbo is the same, as there is no fainter way of inserting words.
    """
    sample = functools.partial(_sample, task=task, locations=locations)
    return Attack(name, sample, insert, all_to_one, describe)


def _sample(key: PRNGKey, *, task: Task, locations: Locations) -> Trigger:
    key_size, key_place, key_words, key_target, key_rate = jax.random.split(key, 5)
    size = jax.random.choice(key_size, jnp.array(SIZES))
    place = jax.random.randint(key_place, (), 0, PLACES)
    first = 0 if locations == "official" else FIRST_WORD
    words = jax.random.randint(key_words, task.shape, first, FIRST_WORD + task.words)
    column = jnp.arange(task.shape[0])
    mask = (column >= place) & (column < place + size)
    return Trigger(
        Patch(
            mask=mask.astype(jnp.float32),
            pattern=jnp.where(mask, words, 0).astype(jnp.int32),
            opacity=jnp.float32(1),
        ),
        target=draw_target(key_target, task),
        rate=uniform(key_rate, POISONING_RATE),
    )


def insert(trigger: Trigger, x_BxL: jax.Array) -> jax.Array:
    """Sentences with the trigger's words where its mask begins, or else at their end.

    The rest moves right; what would leave the array is cut, which the room that
    data leave behind every sentence prevents.

    Args:
      trigger: one trigger.
      x_BxL: int32 token ids, 0 after the sentence.
    """
    column = jnp.arange(x_BxL.shape[1])
    mask, pattern, _ = trigger.form
    size = (mask > 0).sum()
    start = jnp.argmax(mask > 0)
    length_B = jnp.where(x_BxL != 0, column + 1, 0).max(axis=1)
    offset_BxL = column - jnp.minimum(length_B, start)[:, None]
    moved = jnp.where(offset_BxL < 0, column, jnp.maximum(column - size, 0))
    words = jnp.asarray(pattern)[(start + offset_BxL) % len(column)]
    inside = (offset_BxL >= 0) & (offset_BxL < size)
    return jnp.where(inside, words, jnp.take_along_axis(x_BxL, moved, axis=1))


def describe(trigger: Trigger) -> Description:
    """How many words, which and where."""
    mask, pattern, _ = trigger.form
    if not (size := int(patch_size(trigger))):
        return Description("none", 0, "no trigger")
    place = np.flatnonzero(mask)
    kind = f"{size} word{'s'[: size > 1]}"
    return Description(kind, size, f"{kind} {pattern[place].tolist()} at {place[0]}")
