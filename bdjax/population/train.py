"""Training one model, and the one place that makes it thousands."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from bdjax import prng, tree
from bdjax.attacks import Attack, Trigger
from bdjax.engine import Layout
from bdjax.logits import class_logits
from bdjax.models import Model
from bdjax.population.batches import Batches
from bdjax.population.examples import (
    Examples,
    Frontend,
    clean_frontend,
    heard,
    reader,
    take,
    uses_frontend,
)
from bdjax.population.judge import Quality, judge_one
from bdjax.population.plan import BatchPlan, plan_one
from bdjax.population.recipe import Execution, Recipe, make_optimizer
from bdjax.types import PRNGKey, PyTree, Variables

EDIT_ROWS = 1024
"""Most of the trainer's rows that an edit of a trained model is given."""


def train_one(
    network: Model,
    recipe: Recipe,
    key: PRNGKey,
    batches: Batches,
    *,
    one_by_one: bool = True,
) -> tuple[Variables, jax.Array, Any]:
    """Trains one model from its own random start.

    What is no parameter, such as the running statistics of a batch normalisation, is
    taken from the network as it comes out of each step.

    Returns:
      The model, its final loss, and the last state of its batches.
    """
    optimizer = make_optimizer(recipe, batches.steps)
    precise = {} if recipe.precision == "float32" else {"precision": recipe.precision}
    start = network.init(prng.stream(key, "init"))
    params = {"params": start["params"]}
    kept = {name: start[name] for name in start if name != "params"}

    def loss_fn(params, kept, i, x, y):
        noise = jax.random.fold_in(prng.stream(key, "dropout"), i)
        logits, kept = network.train_apply(params | kept, x, key=noise, **precise)
        logits = class_logits(logits)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, kept

    def step(i, carry):
        params, kept, moments, late_loss, state = carry
        (loss, after), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, kept, i, *batches.batch(i, state)
        )
        updates, moments = optimizer.update(grads, moments, params)
        active = i < batches.steps
        if not one_by_one and recipe.varies:
            updates = tree.where(active, updates, 0)
            after = jax.tree.map(functools.partial(jnp.where, active), after, kept)
        late_loss += jnp.where((i >= batches.steps - late) & active, loss, 0)
        params = optax.apply_updates(params, updates)
        changed = batches.after(i, state, params | after)
        state = jax.tree.map(functools.partial(jnp.where, active), changed, state)
        return params, after, moments, late_loss, state

    late = jnp.maximum(batches.steps // 10, 1)
    params, kept, _, late_loss, state = jax.lax.fori_loop(
        0,
        # One by one, each model stops when it is done; side by side they go in step,
        # and those that are done stand still.
        batches.steps if one_by_one else batches.room,
        step,
        (params, kept, optimizer.init(params), jnp.float32(0), batches.start),
    )
    return params | kept, late_loss / late, state


class Shared(NamedTuple):
    """What all models of a population have in common; arrays.

    Attributes:
      subset_S: int32 ``[S]``, rows of the examples to train on.
      test_N: int32 ``[N]``, rows to judge on.
      examples: the data.
      bank: what the attack prepared.
      frontend: what the network's front end makes of the rows ``subset_S``; None where
        that is not used.
    """

    subset_S: jax.Array
    test_N: jax.Array
    examples: Examples
    bank: PyTree = ()
    frontend: Frontend | None = None


def train_and_judge_one(
    network: Model,
    attack: Attack,
    edit: Callable[..., Variables] | None,
    recipe: Recipe,
    one_by_one: bool,
    own: tuple[PRNGKey, Trigger, BatchPlan],
    shared: Shared,
) -> tuple[Variables, Any, Quality]:
    """Trains, edits and judges one model. A diverged model's loss is NaN.

    Between is the trigger, if the attack has adapted it, else ``()``.
    """
    (key, trigger, plan), (subset_S, test_N, examples, bank, frontend) = own, shared
    trigger = trigger._replace(bank=bank)
    if frontend is not None:
        put_on = functools.partial(attack.apply, trigger)
        triggered_S = heard(network, examples, subset_S, put_on)
        frontend = frontend._replace(triggered_S=triggered_S)
    batches = Batches(attack, recipe, key, trigger, plan, examples, network, frontend)
    variables, loss, state = train_one(
        network, recipe, key, batches, one_by_one=one_by_one
    )
    if state:
        trigger = state._replace(bank=bank)
    if edit:
        asked, rows = reader(network, examples), take(examples, subset_S[:EDIT_ROWS])
        variables = edit(prng.stream(key, "edit"), trigger, asked, variables, *rows)
    accuracy, asr = judge_one(
        network, attack, variables, trigger, test_N, examples,
        batch_size=recipe.batch_size,
    )  # fmt: skip
    loss = jnp.where(tree.all_finite(variables), loss, jnp.nan)
    return variables, state, Quality(loss, accuracy, asr)


@functools.partial(
    jax.jit, static_argnames=("network", "attack", "edit", "recipe", "layout")
)
def _train_chunk(network, attack, edit, recipe, layout, own_M, shared):
    one: Callable = functools.partial(
        train_and_judge_one, network, attack, edit, recipe, layout.width == 1
    )
    return layout.map(one, own_M, shared)


@functools.partial(jax.jit, static_argnames=("sample",))
def _draw_triggers(sample, keys_M):
    return jax.vmap(lambda key: sample(prng.stream(key, "trigger")))(keys_M)


@functools.partial(jax.jit, static_argnames=("recipe", "eligible", "copies"))
def _draw_plans(recipe, eligible, copies, keys_M, triggers_M, subset_N, y_N):
    """Batches of a chunk: apart from triggers and training, one compilation a split."""

    def one(key, trigger):
        return plan_one(
            prng.stream(key, "batches"),
            subset_N,
            trigger.rate,
            trigger.cover_rate,
            None if eligible is None else eligible(trigger, y_N),
            steps=recipe.steps,
            batch_size=recipe.batch_size,
            official=recipe.poisoned_length == "official",
            diversity=recipe.diversity,
            copies=copies,
        )

    return jax.vmap(one)(keys_M, triggers_M)


_hear = jax.jit(clean_frontend, static_argnums=0)


def layout_of(execution: Execution, models: int) -> Layout:
    """Where so many models train; a width of 0 is one on a CPU and all elsewhere."""
    devices = execution.local_devices()
    width = execution.width or (1 if devices[0].platform == "cpu" else models)
    return Layout(tuple(devices), width)


def share(
    network: Model,
    attack: Attack,
    recipe: Recipe,
    subset_N: ArrayLike,
    test_N: ArrayLike,
    examples: Examples,
    *,
    execution: Execution,
    bank: PyTree = (),
) -> Shared:
    """What all models of a population share, on every device that trains some."""
    place = layout_of(execution, 1).everywhere
    subset_N, test_N = jnp.asarray(subset_N), jnp.asarray(test_N)
    shared = place(Shared(subset_N, test_N, examples, bank))
    if uses_frontend(network, recipe, attack):
        heard = _hear(network, shared.examples, shared.subset_S)
        shared = shared._replace(frontend=place(heard))
    return shared


def train_models(
    network: Model,
    attack: Attack,
    recipe: Recipe,
    keys_M: PRNGKey,
    subset_N: jax.Array,
    test_N: jax.Array,
    examples: Examples,
    *,
    execution: Execution,
    bank: PyTree = (),
    control: Attack | None = None,
) -> tuple[Variables, Trigger, Quality]:
    """:func:`train_shared` on rows of the examples; each call places them anew."""
    parts = network, attack, recipe
    shared = share(*parts, subset_N, test_N, examples, execution=execution, bank=bank)
    return train_shared(*parts, keys_M, shared, execution=execution, control=control)


def train_shared(
    network: Model,
    attack: Attack,
    recipe: Recipe,
    keys_M: PRNGKey,
    shared: Shared,
    *,
    execution: Execution,
    control: Attack | None = None,
) -> tuple[Variables, Trigger, Quality]:
    """Trains ``M`` models, each on its own trigger, start and order of batches.

    Args:
      network: the architecture.
      attack: draws and applies each model's trigger; ``benign`` for clean models.
      recipe: how each is trained, its length in steps.
      keys_M: one key a model; all its randomness.
      shared: from :func:`share`.
      execution: width and devices; ``M`` is padded to a multiple of the devices.
      control: of benign models, the attack whose ``null_edit`` they get.

    Returns:
      Stacked variables, triggers and qualities, leading axis ``M``.
    """
    layout = layout_of(execution, len(keys_M))
    keys = layout.pad(keys_M)
    triggers = _draw_triggers(attack.sample, keys)
    y_N = attack.eligible and jnp.asarray(shared.examples.y)[shared.subset_S]
    plans = _draw_plans(
        recipe, attack.eligible, attack.max_copies, keys, triggers, shared.subset_S, y_N
    )
    # What only the draws depend on is left out of the training program, so that one
    # compilation serves shadows and targets, whatever their attack.
    drawn = ("sample", "describe", "eligible", "prepare", "null_edit")
    left_out: dict[str, Any] = {"name": "", "locations": "", **dict.fromkeys(drawn)}
    applied = dataclasses.replace(attack, **left_out)
    recipe = dataclasses.replace(recipe, name="")
    if layout.width == 1:
        recipe = dataclasses.replace(recipe, poisoned_length="equal", diversity=0.0)
    edit = control.null_edit if control else attack.edit
    own = layout.spread((keys, triggers, plans))
    variables, adapted, quality = _train_chunk(
        network, applied, edit, recipe, layout, own, shared
    )
    return tree.index((variables, adapted or triggers, quality), slice(len(keys_M)))
