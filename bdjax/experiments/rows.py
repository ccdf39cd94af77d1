"""What one population or one fit of an experiment costs on a device."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from bdjax.attacks import get_attack
from bdjax.experiments import fits
from bdjax.experiments.config import MNTDConfig
from bdjax.experiments.devices import Device
from bdjax.mntd import FitConfig, Meta
from bdjax.mntd.steps import classifier_of, read_answers
from bdjax.models import Model
from bdjax.population import Examples, PopulationSpec, Recipe, cost
from bdjax.population.flops import Work, count_work, shape_of, tree_bytes
from bdjax.population.recipe import chunk_size_for
from bdjax.tasks import Task, get_task
from bdjax.types import UserError


@dataclasses.dataclass(frozen=True)
class Row:
    """One population, or one variant's meta-training.

    Attributes:
      name: such as ``"shadow-jumbo"`` or ``"meta jumbo"``.
      models: in the population; of meta-training, its repeats.
      steps: optimiser steps of each, on average.
      model_steps: all that run, a last chunk's padding included.
      flops: useful arithmetic.
      bytes: least that moves from and to memory.
      disk_bytes: written.
      seconds: predicted.
      bound: the part that takes as long.
      launches: steps that run one after the other.
    """

    name: str
    models: int
    steps: float
    model_steps: float
    flops: float
    bytes: float
    disk_bytes: int
    seconds: float
    bound: str
    launches: float


def networks_of(config: MNTDConfig) -> tuple[Model, Model]:
    """The network as its useful arithmetic is counted, and as it runs."""
    task = get_task(config.task)
    return (
        task.network(config.architecture, "lax"),
        task.network(config.architecture, config.formulation),
    )


def examples_of(config: MNTDConfig) -> Examples:
    """Shapes of the examples that the experiment uses; there may be more."""
    data, task = config.data, get_task(config.task)
    return cost.example_shapes(task, data.defender + data.attacker + data.test)


def population_row(
    config: MNTDConfig, spec: PopulationSpec, count: int, *, width: int, device: Device
) -> Row:
    """Training, judging and keeping ``count`` models, ``width`` of them at once."""
    recipe, chunk = spec.recipe, chunk_size(config, count, device)
    attack = spec.attack
    size = config.data.attacker if spec.role == "target" else config.data.defender
    steps = cost.mean_steps(recipe, attack, size, together=width > 1)
    useful, useful_judge = _model_work(config, attack.name, recipe, useful=True)
    real, real_judge = _model_work(config, attack.name, recipe, useful=False)
    # A chunk is trained and kept whole, though fewer models may be asked for; and
    # devices do equally many of it.
    chunks, lanes = -(-count // chunk), -(-chunk // device.count)
    trained = chunks * lanes * device.count
    flops = trained * (steps * useful.flops + useful_judge.flops)
    moved = trained * (steps * real.bytes + real_judge.bytes)
    disk_bytes = cost.population_bytes(networks_of(config)[1], attack, count, chunk)
    parts = device.limits(
        flops=flops / device.count,
        moved=moved / device.count,
        kind="training",
        precision=recipe.precision,
    ) | {"disk": disk_bytes / device.disk}
    bound = max(parts, key=lambda name: parts[name])
    return Row(
        name=spec.name,
        models=count,
        steps=steps,
        model_steps=trained * steps,
        flops=flops,
        bytes=moved,
        disk_bytes=disk_bytes,
        seconds=parts[bound],
        bound=bound,
        launches=chunks * math.ceil(lanes / width) * steps,
    )


def chunk_size(config: MNTDConfig, count: int, device: Device) -> int:
    """Models that are trained and committed together, of a population of ``count``."""
    chosen = chunk_size_for(count, device.count, cpu=device.is_cpu)
    return config.execution.chunk_size or chosen


def _model_work(
    config: MNTDConfig, attack: str, recipe: Recipe, *, useful: bool
) -> tuple[Work, Work]:
    """Of one model: a step and its judging, useful or as it runs."""
    # Of all that a configuration says, tracing takes this; roles have it in common.
    return _traced(
        networks_of(config)[0 if useful else 1], config.task, attack, recipe,
        len(examples_of(config).y), config.data.test,
    )  # fmt: skip


@functools.cache
def _traced(
    model: Model, task: str, attack: str, recipe: Recipe, examples: int, tested: int
) -> tuple[Work, Work]:
    shapes = cost.example_shapes(get_task(task), examples)
    poison = get_attack(attack, task=get_task(task))
    return (
        cost.step_work(model, poison, recipe, shapes),
        cost.judge_work(model, poison, recipe, shapes, tested),
    )


def meta_row(config: MNTDConfig, variant: str, *, device: Device) -> Row:
    """All repeats of one variant's fit, which one device does alone.

    Raises:
      UserError: there is no such variant.
    """
    if variant not in fits.VARIANTS:
        raise UserError(f"unknown variant {variant!r}; there are {list(fits.VARIANTS)}")
    task, counts = get_task(config.task), config.population
    fit = fits.fit_config(config, variant)
    shadows = counts.shadows * (1 if fit.mode == "one_class" else 2)
    steps = fit.epochs * max(1, shadows // fit.batch_size)
    asked = fit.epochs * 2 * counts.validation
    asked += counts.targets * (1 + len(counts.target_attacks))
    if not fit.query_tuning:  # the shadows answer once, or anew in every epoch
        asked += shadows * (fit.epochs if fit.query_dropout else 1)
    useful, real = (
        step * (steps * fit.repeats) + ask * (asked * fit.repeats)
        for step, ask in (_meta_work(model, task, fit) for model in networks_of(config))
    )
    # Its products are float32 whatever the shadows' are.
    parts = device.limits(
        flops=useful.flops, moved=real.bytes, kind="meta", precision="float32"
    )
    bound = max(parts, key=lambda name: parts[name])
    return Row(
        name=f"meta {variant}",
        models=fit.repeats,
        steps=steps,
        model_steps=steps * fit.repeats,
        flops=useful.flops,
        bytes=real.bytes,
        disk_bytes=0,
        seconds=parts[bound],
        bound=bound,
        launches=steps + asked,
    )


def _meta_work(model: Model, task: Task, fit: FitConfig) -> tuple[Work, Work]:
    """Of one repeat: an Adam step on a batch of shadows, and asking one model."""
    classifier = classifier_of(fit)
    logits = shape_of((fit.queries, task.num_logits), jnp.float32)
    answers = jax.eval_shape(functools.partial(read_answers, fit), logits)
    weights = jax.eval_shape(
        classifier.init, jax.eval_shape(lambda: jax.random.key(0)), answers
    )
    queries = shape_of((fit.queries, *task.query_shape), jnp.float32)
    meta = Meta(queries, weights)
    variables = cost.variables_shapes(model)

    def score(meta, variables):
        answers = read_answers(fit, model.apply(variables, meta.queries))
        return jnp.asarray(classifier.apply(meta.classifier, answers))

    ask = count_work(score, meta, variables)
    if fit.query_tuning:
        one = count_work(jax.grad(score), meta, variables)
    else:
        one = count_work(
            jax.grad(lambda w, a: jnp.asarray(classifier.apply(w, a))), weights, answers
        )
    step = one * fit.batch_size
    return Work(step.flops, step.bytes + 7 * tree_bytes(meta)), ask
