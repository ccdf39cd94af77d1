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
from bdjax.attacks import Attack
from bdjax.models import Model
from bdjax.population import train
from bdjax.population.batches import Batches
from bdjax.population.examples import Examples, clean_frontend, uses_frontend
from bdjax.population.flops import Work, count_work, shape_of, tree_bytes
from bdjax.population.judge import judge_one
from bdjax.population.model_files import trigger_shape
from bdjax.population.plan import BatchPlan, max_steps
from bdjax.population.recipe import Recipe
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


def example_shapes(task: Task, count: int, dtype: Any = None) -> Examples:
    """Shapes of ``count`` examples of a task: x ``[N, *shape]``, y int32 ``[N]``.

    Args:
      task: the task; of sentences, the vocabulary is taken to be as small as can be.
      count: of examples.
      dtype: of x; by default the modality's.
    """
    vectors = None
    if task.modality.is_discrete:
        vectors = shape_of((task.words + 2, task.input_shape[-1]), jnp.float32)
    return Examples(
        shape_of((count, *task.shape), dtype or task.modality.dtype),
        shape_of((count,), jnp.int32),
        vectors,
    )


def held_bytes(examples: Examples) -> int:
    """Bytes of a data set on a device, floats at worst."""
    return sum(4 * math.prod(a.shape) for a in jax.tree.leaves(examples))


def variables_shapes(model: Model) -> Variables:
    """Shapes of one model's variables."""
    return jax.eval_shape(model.init, _key())


def step_cost(
    model: Model, attack: Attack, recipe: Recipe, examples: Examples
) -> StepCost:
    """What one optimiser step of one model costs; see :func:`model_footprint`."""
    work = step_work(model, attack, recipe, examples)
    return StepCost(
        flops=work.flops,
        bytes=work.bytes,
        memory_bytes=model_footprint(model, attack, recipe, examples),
        variables_bytes=tree_bytes(variables_shapes(model)),
    )


def step_work(model: Model, attack: Attack, recipe: Recipe, examples: Examples) -> Work:
    """Work of one optimiser step of one model; compiles nothing."""
    one, mapped, shared = _training(model, attack, recipe, examples)
    # Training loops until a bound that is data: a loop that is counted once.
    work = count_work(one, *mapped, shared)
    moments = 2 if recipe.optimizer == "adam" else 1
    passes = 1 + 2 * (1 + moments)
    params = tree_bytes(variables_shapes(model)["params"])
    return Work(work.flops, work.bytes + passes * params)


def judge_work(
    model: Model, attack: Attack, recipe: Recipe, examples: Examples, tested: int
) -> Work:
    """Work of judging one trained model on ``tested`` clean and triggered examples."""
    judge = functools.partial(judge_one, model, attack, batch_size=recipe.batch_size)
    rows = shape_of((tested,), jnp.int32)
    trigger = trigger_shape(attack)
    return count_work(judge, variables_shapes(model), trigger, rows, examples)


def model_footprint(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    examples: Examples,
    *,
    width: int = 0,
    trained: int = 0,
    bank: PyTree = (),
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
      bank: what the attack prepared, or its shapes.

    Raises:
      UserError: the backend does not tell the memory of a compiled program.
    """
    width = width or (1 if jax.default_backend() == "cpu" else 8)
    one, mapped, shared = _training(
        model, attack, recipe, examples, width == 1, trained, bank
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
    trigger = trigger_shape(attack)
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
        drawn = jax.jit(jax.vmap(attack.sample))(keys)
        rates = drawn.rate + drawn.cover_rate
        rate = float(rates.max() if together else rates.mean())
        most = max_steps(
            size, steps=recipe.steps, batch_size=recipe.batch_size, official=True,
            copies=attack.max_copies,
        )  # fmt: skip
        # As many epochs, and diversity has made them shorter.
        shorter = 1 if together else 1 - recipe.diversity / 2
        steps = most * (1 + rate) / (1 + attack.max_copies) * shorter
    return steps if together else steps * (1 - recipe.diversity / 2)


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _training(
    model: Model,
    attack: Attack,
    recipe: Recipe,
    examples: Examples,
    one_by_one: bool = True,
    trained: int = 0,
    bank: PyTree = (),
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
        room = math.ceil((1 + attack.max_copies) * room)
    shape = (room, recipe.batch_size)
    plan = BatchPlan(
        row=shape_of(shape, jnp.int32),
        role=shape_of(shape, jnp.int8),
        steps=shape_of((), jnp.int32),
    )
    data = jax.tree.map(lambda a: shape_of(a.shape, a.dtype), examples)
    behind = None
    if uses_frontend(model, recipe, attack):
        rows = shape_of((trained or len(examples.y),), jnp.int32)
        behind = jax.eval_shape(functools.partial(clean_frontend, model), data, rows)

    def one(key, trigger, plan, triggered_S, shared):
        data, frontend, bank = shared
        if frontend is not None:
            frontend = frontend._replace(triggered_S=triggered_S)
        batches = Batches(
            attack, recipe, key, trigger._replace(bank=bank), plan, data, idle, frontend
        )
        return train.train_one(idle, recipe, key, batches, one_by_one=one_by_one)

    triggered = None if behind is None else behind.clean_S
    bank = jax.tree.map(lambda a: shape_of(a.shape, a.dtype), bank)
    own = _key(), trigger_shape(attack), plan, triggered
    return one, own, (data, behind, bank)
