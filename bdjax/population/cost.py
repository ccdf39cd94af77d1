"""What training costs, from shapes alone: arithmetic, bytes moved, memory held.

Nothing here trains. Work is counted in the jaxpr of the very code that trains
(:func:`bdjax.population.train.train_one`), so that it cannot drift from it; memory is
what the compiler lays out for it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bdjax import prng
from bdjax.attacks import Attack, Trigger
from bdjax.models import Model
from bdjax.population import train
from bdjax.population.front import Front, clean_front, uses_front
from bdjax.population.plan import MAX_RATE, BatchPlan, max_steps
from bdjax.population.recipe import Recipe
from bdjax.population.work import Work, count_work, shape_of, tree_bytes
from bdjax.tasks import Task
from bdjax.types import PyTree, UserError, Variables

# What is written beside the arrays, measured: of a chunk, for each array in it, and of
# a population.
CHUNK_BYTES, ARRAY_BYTES, MANIFEST_BYTES = 1400, 530, 1100


class StepCost(NamedTuple):
    """One optimiser step of one model.

    Attributes:
      flops: see :class:`Work`; what the model's formulation executes. Build the model
        with ``formulation="lax"`` to count useful arithmetic instead.
      bytes: see :class:`Work`, and the optimiser's: gradients read; weights and
        moments (Adam has two of each, SGD one) read and written.
      memory_bytes: see :func:`model_footprint`.
      variables_bytes: the model's variables alone.
    """

    flops: int
    bytes: int
    memory_bytes: int
    variables_bytes: int


def example_shapes(task: Task, count: int, dtype: Any = None) -> train.Examples:
    """Shapes of ``count`` examples of a task: x ``[N, *shape]``, y int32 ``[N]``.

    Args:
      task: the task; of sentences, the vocabulary is taken to be as small as can be.
      count: of examples.
      dtype: of x; by default the modality's.
    """
    vectors = None
    if task.modality.is_discrete:
        vectors = shape_of((task.words + 2, task.input_shape[-1]), jnp.float32)
    return train.Examples(
        shape_of((count, *task.shape), dtype or task.modality.dtype),
        shape_of((count,), jnp.int32),
        vectors,
    )


def held_bytes(examples: train.Examples) -> int:
    """Bytes of a data set on a device, floats at worst."""
    return sum(4 * math.prod(a.shape) for a in jax.tree.leaves(examples))


def variables_shapes(model: Model) -> Variables:
    """Shapes of one model's variables."""
    return jax.eval_shape(model.init, _key())


def step_cost(
    model: Model, attack: Attack, recipe: Recipe, examples: train.Examples
) -> StepCost:
    """What one optimiser step of one model costs; compiles one step for its memory.

    Args:
      model: the architecture, in the formulation to be counted.
      attack: whose triggers are applied.
      recipe: batch size, precision and optimiser.
      examples: the data set or its shapes, see :func:`example_shapes`.

    Raises:
      UserError: the backend does not tell the memory of a compiled program.
    """
    work = step_work(model, attack, recipe, examples)
    return StepCost(
        flops=work.flops,
        bytes=work.bytes,
        memory_bytes=model_footprint(model, attack, recipe, examples),
        variables_bytes=tree_bytes(variables_shapes(model)),
    )


def step_work(
    model: Model, attack: Attack, recipe: Recipe, examples: train.Examples
) -> Work:
    """Work of one optimiser step of one model; compiles nothing."""
    one, mapped, shared = _training(model, attack, recipe, examples)
    # Training loops until a bound that is data: a loop that is counted once.
    work = count_work(one, *mapped, shared)
    moments = 2 if recipe.optimizer == "adam" else 1
    passes = 1 + 2 * (1 + moments)
    params = tree_bytes(variables_shapes(model)["params"])
    return Work(work.flops, work.bytes + passes * params)


def judge_work(
    model: Model, attack: Attack, recipe: Recipe, examples: train.Examples, tested: int
) -> Work:
    """Work of judging one trained model on ``tested`` clean and triggered examples."""
    judge = functools.partial(
        train.judge_one, model, attack, batch_size=recipe.batch_size
    )
    rows = shape_of((tested,), jnp.int32)
    return count_work(judge, variables_shapes(model), _trigger(attack), rows, examples)


def model_footprint(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    examples: train.Examples,
    *,
    width: int = 0,
    trained: int = 0,
) -> int:
    """Bytes of device memory that one model in training takes.

    Variables, both moments, gradients, activations, patches, its plan of batches and
    its result: what the compiler lays out for training, the data set left out. Where
    models train side by side, ``limit // model_footprint(...)`` of them fit.

    Compiles the training of ``width`` models with starts that are all zero (drawing
    them would take most of the compilation), a second or two. Nothing runs.

    Args:
      model: the architecture, in the formulation that will train.
      attack: whose triggers are applied; it must be able to ``sample``.
      recipe: steps, batch size, precision.
      examples: the data set or its shapes.
      width: models side by side; 0 for one on a CPU and eight elsewhere, where what a
        program takes once must not be put down to one model.
      trained: how many of the examples are trained on; 0 for all. Of these, what a
        network's front end makes is held.

    Raises:
      UserError: the backend does not tell the memory of a compiled program.
    """
    width = width or (1 if jax.default_backend() == "cpu" else 8)
    one, mapped, shared = _training(
        model, attack, recipe, examples, width == 1, trained
    )
    if width > 1:
        one = jax.vmap(one, in_axes=(0, 0, 0, 0, None))
        mapped = jax.tree.map(lambda a: shape_of((width, *a.shape), a.dtype), mapped)
    # With what goes unused, too: all that is shared is taken off below.
    compiled = jax.jit(one, keep_unused=True).lower(*mapped, shared).compile()
    memory = compiled.memory_analysis()
    if memory is None:
        raise UserError(
            f"backend {jax.default_backend()!r} does not tell how much memory a "
            "program takes; set execution.width to 1 or more"
        )
    total = (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return max(1, (total - tree_bytes(shared)) // width)


def population_bytes(model: Model, attack: Attack, count: int, chunk_size: int) -> int:
    """Bytes of the files of a population of ``count`` models."""
    trigger = _trigger(attack)
    # Beside these: three figures of quality and an id, four bytes each.
    arrays = (variables_shapes(model), trigger)
    one = tree_bytes(arrays) + 4 * 4
    leaves = len(jax.tree.leaves(arrays)) + 4
    chunk = chunk_size * one + CHUNK_BYTES + leaves * ARRAY_BYTES
    return -(-count // chunk_size) * chunk + MANIFEST_BYTES


def mean_steps(recipe: Recipe, attack: Attack, size: int, *, together: bool) -> float:
    """Steps that a model takes on average; side by side, the longest one's."""
    if not recipe.varies:
        return recipe.steps
    steps: float = recipe.steps
    if recipe.poisoned_length == "official":
        keys = prng.model_keys(prng.root(0), jnp.arange(256))
        rates = jax.jit(jax.vmap(lambda key: attack.sample(key).rate))(keys)
        rate = float(rates.max() if together else rates.mean())
        most = max_steps(
            size, steps=recipe.steps, batch_size=recipe.batch_size, official=True
        )
        # As many epochs, and diversity has made them shorter.
        shorter = 1 if together else 1 - recipe.diversity / 2
        steps = most * (1 + rate) / (1 + MAX_RATE) * shorter
    return steps if together else steps * (1 - recipe.diversity / 2)


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _trigger(attack: Attack) -> Trigger:
    return jax.eval_shape(attack.sample, _key())


def _training(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    examples: train.Examples,
    one_by_one: bool = True,
    trained: int = 0,
) -> tuple[Callable, tuple, PyTree]:
    """Training as a function of what is a model's and what is all models'; and shapes.

    A model has its key, trigger, plan and triggered examples behind the front end, if
    there is one; all share the data, and the clean examples behind it.
    """
    start = variables_shapes(model)
    idle = dataclasses.replace(
        model,
        init=lambda key: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), start),
    )
    room = recipe.steps
    if recipe.poisoned_length == "official":
        room = math.ceil((1 + MAX_RATE) * room)
    shape = (room, recipe.batch_size)
    plan = BatchPlan(
        row=shape_of(shape, jnp.int32),
        poisoned=shape_of(shape, jnp.bool_),
        steps=shape_of((), jnp.int32),
    )
    data = jax.tree.map(lambda a: shape_of(a.shape, a.dtype), examples)
    behind = _behind_front(model, examples, trained, recipe)
    hears = behind is not None

    def one(key, trigger, plan, triggered_S, shared):
        data, clean = shared
        front = clean._replace(triggered_S=triggered_S) if hears else None
        return train.train_one(
            idle, attack, recipe, key, trigger, plan, data,
            one_by_one=one_by_one, front=front,
        )  # fmt: skip

    triggered = behind.clean_S if behind is not None else None
    return one, (_key(), _trigger(attack), plan, triggered), (data, behind)


def _behind_front(
    model: Model, examples: train.Examples, trained: int, recipe: Recipe
) -> Front | None:
    """Shapes of what the front end makes of the examples that are trained on."""
    if not uses_front(model, recipe):
        return None
    rows = shape_of((trained or len(examples.y),), jnp.int32)
    shapes = jax.tree.map(lambda a: shape_of(a.shape, a.dtype), examples)
    return jax.eval_shape(functools.partial(clean_front, model), shapes, rows)
