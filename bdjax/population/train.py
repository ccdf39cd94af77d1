"""Training one model, judging it, and the one place that makes it thousands."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bdjax import prng, tree
from bdjax.attacks import Attack, Trigger
from bdjax.logits import class_logits
from bdjax.models import Model
from bdjax.population.augment import crop_flip
from bdjax.population.examples import Examples, embed, take
from bdjax.population.front import (
    Front,
    add_triggered,
    clean_front,
    in_blocks,
    uses_front,
)
from bdjax.population.optimizer import make_optimizer
from bdjax.population.plan import BatchPlan, plan_one
from bdjax.population.recipe import Execution, Recipe
from bdjax.types import PRNGKey, PyTree, Variables


class Quality(NamedTuple):
    """What is known of a trained model; float32 scalars, or ``[M]`` when stacked.

    Attributes:
      loss: mean training loss over the last tenth of the steps.
      accuracy: share of clean test examples classified right.
      asr: attack success rate, the share of triggered test examples *of other
        classes* that go to the target label (all-to-all: of all test examples, to
        the next class); NaN for a benign model.
    """

    loss: jax.Array
    accuracy: jax.Array
    asr: jax.Array


def poisoned_batch(
    attack: Attack,
    trigger: Trigger,
    examples: Examples,
    row_B: jax.Array,
    poisoned_B: jax.Array,
    augment: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """A training batch, trigger and target label where ``poisoned_B`` says so.

    ``augment`` changes the clean images, so that a trigger stays where it belongs; of
    sentences, a trigger changes tokens, and the batch holds word vectors.
    """
    x, y = take(examples, row_B)
    if augment:
        x = augment(x)
    which = poisoned_B.reshape(-1, *[1] * (x.ndim - 1))
    x = embed(examples, jnp.where(which, attack.apply(trigger, x), x))
    return x, jnp.where(poisoned_B, attack.relabel(trigger, y), y)


def train_one(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    key: PRNGKey,
    trigger: Trigger,
    plan: BatchPlan,
    examples: Examples,
    *,
    one_by_one: bool = True,
    front: Front | None = None,
) -> tuple[Variables, jax.Array]:
    """Trains one model from its own random start; returns it and its final loss.

    What is no parameter, such as the running statistics of a batch normalisation, is
    taken from the network as it comes out of each step. A network with a front end may
    be given what that makes of its examples, in place of their ``x``.
    """
    optimizer = make_optimizer(recipe, plan.steps)
    precise = {} if recipe.precision == "float32" else {"precision": recipe.precision}
    start = model.init(prng.stream(key, "init"))
    params = {"params": start["params"]}
    kept = {name: start[name] for name in start if name != "params"}

    def loss_fn(params, kept, i, x, y):
        noise = jax.random.fold_in(prng.stream(key, "dropout"), i)
        logits, kept = model.train_apply(params | kept, x, key=noise, **precise)
        logits = class_logits(logits)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, kept

    def batch(i):
        if front is not None:
            y = jnp.asarray(examples.y)[plan.row[i]]
            x = front.batch(plan.row[i], plan.poisoned[i])
            return x, jnp.where(plan.poisoned[i], attack.relabel(trigger, y), y)
        augment = None
        if recipe.augment != "none":
            chance = jax.random.fold_in(prng.stream(key, "augment"), i)
            augment = functools.partial(crop_flip, chance)
        rows = plan.row[i], plan.poisoned[i]
        return poisoned_batch(attack, trigger, examples, *rows, augment)

    def step(i, state):
        params, kept, moments, late_loss = state
        (loss, after), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            params, kept, i, *batch(i)
        )
        updates, moments = optimizer.update(grads, moments, params)
        if not one_by_one and recipe.varies:
            active = i < plan.steps
            updates = tree.where(active, updates, 0)
            after = jax.tree.map(functools.partial(jnp.where, active), after, kept)
        late_loss += jnp.where((i >= plan.steps - late) & (i < plan.steps), loss, 0)
        return optax.apply_updates(params, updates), after, moments, late_loss

    late = jnp.maximum(plan.steps // 10, 1)
    params, kept, _, late_loss = jax.lax.fori_loop(
        0,
        # One by one, each model stops when it is done; side by side they go in step,
        # and those that are done stand still.
        plan.steps if one_by_one else len(plan.row),
        step,
        (params, kept, optimizer.init(params), jnp.float32(0)),
    )
    return params | kept, late_loss / late


def judge_one(
    model: Model,
    attack: Attack,
    variables: Variables,
    trigger: Trigger,
    test_N: jax.Array,
    examples: Examples,
    *,
    batch_size: int,
) -> tuple[jax.Array, jax.Array]:
    """Clean accuracy and attack success rate of one model on the rows ``test_N``."""
    pad = -len(test_N) % batch_size
    row_SxB = jnp.pad(test_N, (0, pad)).reshape(-1, batch_size)
    real_SxB = (jnp.arange(len(test_N) + pad) < len(test_N)).reshape(-1, batch_size)

    def classify(x):
        x = embed(examples, x)
        if model.front:
            x = in_blocks(model.front, x)
        return class_logits(model.apply(variables, x)).argmax(-1)

    def count(batch):
        row_B, real_B = batch
        x, y = take(examples, row_B)
        target_B = attack.relabel(trigger, y)
        other_B = real_B & (y != target_B)
        right_B = classify(x) == y
        hit_B = classify(attack.apply(trigger, x)) == target_B
        return (right_B & real_B).sum(), (hit_B & other_B).sum(), other_B.sum()

    right, hit, other = jax.tree.map(jnp.sum, jax.lax.map(count, (row_SxB, real_SxB)))
    asr = jnp.where(trigger.rate > 0, hit / other, jnp.nan)
    return right / len(test_N), asr


def train_and_judge_one(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    key: PRNGKey,
    trigger: Trigger,
    plan: BatchPlan,
    test_N: jax.Array,
    examples: Examples,
    one_by_one: bool,
    subset_S: jax.Array | None = None,
    front: Front | None = None,
) -> tuple[Variables, Quality]:
    """:func:`train_one`, then :func:`judge_one`. A diverged model's loss is NaN."""
    if front is not None and subset_S is not None:
        put_on = functools.partial(attack.apply, trigger)
        front = add_triggered(front, model, examples, subset_S, put_on)
    variables, loss = train_one(
        model, attack, recipe, key, trigger, plan, examples,
        one_by_one=one_by_one, front=front,
    )  # fmt: skip
    accuracy, asr = judge_one(
        model, attack, variables, trigger, test_N, examples,
        batch_size=recipe.batch_size,
    )  # fmt: skip
    loss = jnp.where(tree.all_finite(variables), loss, jnp.nan)
    return variables, Quality(loss=loss, accuracy=accuracy, asr=asr)


@functools.partial(
    jax.jit, static_argnames=("model", "attack", "recipe", "width", "mesh")
)
def _train_chunk(
    model, attack, recipe, width, mesh, keys_M, triggers_M, plans_M,
    subset_S, test_N, examples,
):  # fmt: skip
    one: Callable = functools.partial(train_and_judge_one, model, attack, recipe)

    def local(keys_M, triggers_M, plans_M, subset_S, test_N, examples):
        front = None
        if subset_S is not None:
            front = clean_front(model, examples, subset_S)
        return jax.lax.map(
            lambda mapped: one(*mapped, test_N, examples, width == 1, subset_S, front),
            (keys_M, triggers_M, plans_M),
            batch_size=width if width > 1 else None,
        )

    models, every = P("models"), P()
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(models, models, models, every, every, every),
        out_specs=models,
        # The loops' carries start unsharded inside each shard's own models.
        check_vma=False,
    )(keys_M, triggers_M, plans_M, subset_S, test_N, examples)


@functools.partial(jax.jit, static_argnames="attack")
def _draw_triggers(attack, keys_M):
    return jax.vmap(lambda key: attack.sample(prng.stream(key, "trigger")))(keys_M)


@functools.partial(jax.jit, static_argnames="recipe")
def _draw_plans(recipe, keys_M, subset_N, rate_M):
    """Batches of a chunk: apart from triggers and training, one compilation a split."""

    def one(key, rate):
        return plan_one(
            prng.stream(key, "batches"),
            subset_N,
            rate,
            steps=recipe.steps,
            batch_size=recipe.batch_size,
            official=recipe.poisoned_length == "official",
            diversity=recipe.diversity,
        )

    return jax.vmap(one)(keys_M, rate_M)


def _mesh(execution: Execution) -> Mesh:
    devices = execution.local_devices()
    return jax.make_mesh(
        (len(devices),), ("models",), (AxisType.Auto,), devices=devices
    )


def on_every_device(arrays: PyTree, execution: Execution) -> PyTree:
    """A copy on each device that trains; what is there already stays."""
    return jax.device_put(arrays, NamedSharding(_mesh(execution), P()))


def train_models(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    keys_M: PRNGKey,
    subset_N: jax.Array,
    test_N: jax.Array,
    examples: Examples,
    *,
    execution: Execution,
) -> tuple[Variables, Trigger, Quality]:
    """Trains ``M`` models, each on its own trigger, start and order of batches.

    Args:
      model: the architecture.
      attack: draws and applies each model's trigger; ``benign`` for clean models.
      recipe: how each is trained.
      keys_M: one key a model; all its randomness.
      subset_N: int32, rows of ``examples`` to train on.
      test_N: int32, rows of ``examples`` to judge on.
      examples: the whole data set; for several calls, see :func:`on_every_device`.
      execution: width and devices; a width of 0 is one on a CPU and ``M`` elsewhere.
        ``M`` is padded to a multiple of the devices.

    Returns:
      Stacked variables, triggers and qualities, leading axis ``M``.
    """
    devices = execution.local_devices()
    width = execution.width
    if not width:
        width = 1 if devices[0].platform == "cpu" else len(keys_M)
    mesh = _mesh(execution)
    padded = -(-len(keys_M) // len(devices)) * len(devices)
    keys = keys_M[jnp.minimum(jnp.arange(padded), len(keys_M) - 1)]
    triggers = _draw_triggers(attack, keys)
    plans = _draw_plans(recipe, keys, subset_N, triggers.rate)
    # What only the draws depend on is left out of the training program, so that one
    # compilation serves shadows and targets, whatever their attack.
    applied = dataclasses.replace(attack, name="", sample=None)  # type: ignore[arg-type]
    if width == 1:
        recipe = dataclasses.replace(recipe, poisoned_length="equal", diversity=0.0)
    heard = subset_N if uses_front(model, recipe) else None
    place = functools.partial(jax.device_put, device=NamedSharding(mesh, P("models")))
    variables, quality = _train_chunk(
        model, applied, recipe, width, mesh,
        place(keys), place(triggers), place(plans),
        *on_every_device((heard, test_N, examples), execution),
    )  # fmt: skip
    real = slice(len(keys_M))
    return tree.index((variables, triggers, quality), real)
