"""The batches that one model trains on: what is put on which rows, and when."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from bdjax import prng
from bdjax.attacks import Attack, Role, Trigger
from bdjax.models import Model
from bdjax.population.examples import Examples, Frontend, embed, reader, take
from bdjax.population.plan import BatchPlan
from bdjax.population.recipe import Recipe
from bdjax.types import PRNGKey, Variables

PADDING = 4


@dataclasses.dataclass(frozen=True)
class Batches:
    """What one model trains on under an attack, step by step, inside ``jit``.

    Attributes:
      attack: what is done to rows that are not clean.
      recipe: what is done to images before.
      key: the model's.
      trigger: the model's, with the bank in it.
      plan: which rows, and their roles.
      examples: the data.
      network: what an attack that adapts its trigger asks.
      frontend: what the network's front end makes of the rows, if that is known.
    """

    attack: Attack
    recipe: Recipe
    key: PRNGKey
    trigger: Trigger
    plan: BatchPlan
    examples: Examples
    network: Model
    frontend: Frontend | None = None

    @property
    def room(self) -> int:
        """Most steps that there are batches for."""
        return len(self.plan.row)

    @property
    def steps(self) -> jax.Array:
        """Steps to train; int32 scalar."""
        return self.plan.steps

    @property
    def start(self) -> Trigger | tuple[()]:
        """What changes as the model trains: the trigger, if the attack adapts it."""
        return () if self.attack.adapt is None else self.trigger._replace(bank=())

    def batch(
        self, i: jax.Array, state: Trigger | tuple[()]
    ) -> tuple[jax.Array, jax.Array]:
        """What the network reads at step ``i``, ``[B, ...]``, and labels."""
        row_B, role_B = self.plan.row[i], self.plan.role[i]
        trigger = self._current(state)
        if self.frontend is not None:
            x = self.frontend.batch(row_B, role_B)
            y = jnp.asarray(self.examples.y)[row_B]
            return x, relabelled(self.attack, trigger, y, role_B)
        x, y = self._clean(i)
        key_B = jax.random.split(self._key("attack", i), len(row_B))
        x, y = put_on(self.attack, trigger, key_B, x, y, role_B)
        return embed(self.examples, x), y

    def after(
        self, i: jax.Array, state: Trigger | tuple[()], variables: Variables
    ) -> Trigger | tuple[()]:
        """The state after step ``i``, which left these variables behind."""
        if self.attack.adapt is None:
            return ()
        network = reader(self.network, self.examples)
        key, trigger = self._key("adapt", i), self._current(state)
        x, y = self._clean(i)
        return self.attack.adapt(key, trigger, network, variables, x, y)._replace(
            bank=()
        )

    def _current(self, state: Trigger | tuple[()]) -> Trigger:
        return (state or self.trigger)._replace(bank=self.trigger.bank)

    def _clean(self, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, y = take(self.examples, self.plan.row[i])
        if self.recipe.augment != "none":
            x = crop_flip(self._key("augment", i), x)
        return x, y

    def _key(self, name: str, i: jax.Array) -> PRNGKey:
        return jax.random.fold_in(prng.stream(self.key, name), i)


def put_on(
    attack: Attack,
    trigger: Trigger,
    key_B: PRNGKey,
    x_B: jax.Array,
    y_B: jax.Array,
    role_B: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Training rows as their roles have them: changed if poisoned or covers.

    Images are augmented before, so that a trigger stays where it belongs; of
    sentences, a trigger changes tokens.

    Args:
      attack: what is done.
      trigger: with its bank.
      key_B: one a row.
      x_B: ``[B, *shape]``.
      y_B: int32 ``[B]``.
      role_B: int8 ``[B]``.
    """
    where = functools.partial(_where, role_B)
    poison = attack.train or (lambda key_B, trigger, x_B: attack.apply(trigger, x_B))
    out_B = where(Role.CLEAN, x_B, poison(key_B, trigger, x_B))
    if attack.cover is not None:
        out_B = where(Role.COVER, attack.cover(key_B, trigger, x_B), out_B)
    return out_B, relabelled(attack, trigger, y_B, role_B)


def relabelled(
    attack: Attack, trigger: Trigger, y_B: jax.Array, role_B: jax.Array
) -> jax.Array:
    """The labels to train on: only those of poisoned rows are the attacker's."""
    return _where(role_B, Role.POISON, attack.relabel(trigger, y_B), y_B)


def _where(
    role_B: jax.Array, role: int, there_B: jax.Array, elsewhere_B: jax.Array
) -> jax.Array:
    which_B = (role_B == role).reshape(-1, *[1] * (there_B.ndim - 1))
    return jnp.where(which_B, there_B, elsewhere_B)


def crop_flip(key: PRNGKey, x_BxHxWxC: jax.Array) -> jax.Array:
    """Every image shifted by up to 4 places, zeros coming in, and flipped or not."""
    batch, *shape = x_BxHxWxC.shape
    around = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    wide = jnp.pad(x_BxHxWxC, around)
    key_corner, key_flip = jax.random.split(key)
    corner_Bx2 = jax.random.randint(key_corner, (batch, 2), 0, 2 * PADDING + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

    x = jax.vmap(crop)(wide, corner_Bx2)
    flip_B = jax.random.bernoulli(key_flip, shape=(batch,))
    return jnp.where(flip_B[:, None, None, None], x[:, :, ::-1], x)
