"""What one population or one fit of an experiment costs on a device."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from bdjax.experiments.config import ROLES, Experiment
from bdjax.experiments.devices import Device
from bdjax.experiments.zoo import Wanted
from bdjax.mntd import FitConfig, Meta
from bdjax.mntd.steps import classifier_of, read_answers
from bdjax.models import Model
from bdjax.population import Examples, PopulationSpec, cost
from bdjax.population.flops import Work, count_work, shape_of, tree_bytes
from bdjax.population.recipe import chunk_size_for
from bdjax.tasks import Task, get_task


@dataclasses.dataclass(frozen=True)
class Row:
    """One population, or one detector's meta-training.

    Attributes:
      name: such as ``"shadow-jumbo"`` or ``"fit mntd"``.
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


def networks_of(experiment: Experiment, name: str = "") -> tuple[Model, Model]:
    """A network as its useful arithmetic is counted, and as it runs."""
    task = get_task(experiment.zoo.task)
    return task.network(name, "lax"), task.network(name, experiment.formulation)


def examples_of(experiment: Experiment) -> Examples:
    """Shapes of the examples that the experiment uses; there may be more."""
    data, task = experiment.zoo.data, get_task(experiment.zoo.task)
    return cost.example_shapes(task, data.defender + data.attacker + data.test)


def population_row(
    experiment: Experiment, wanted: Wanted, *, batching: int, device: Device
) -> Row:
    """Training, judging and keeping a population, ``batching`` models at once."""
    spec, count = wanted.spec, len(wanted.ids)
    recipe, chunk = spec.recipe, chunk_size(experiment, count, device)
    size = getattr(experiment.zoo.data, ROLES[spec.role])
    steps = cost.mean_steps(recipe, spec.attack, size, together=batching > 1)
    # A chunk is trained and kept whole, though fewer models may be asked for; and
    # devices do equally many of it.
    chunks, lanes = -(-count // chunk), -(-chunk // device.count)
    trained = chunks * lanes * device.count
    useful, real = (
        step * (trained * steps) + judge * trained
        for step, judge in _model_work(experiment, spec)
    )
    work = Work(useful.flops, real.bytes)
    disk_bytes = cost.population_bytes(spec.network, spec.attack, count, chunk)
    seconds, bound = device.slowest(
        work * (1 / device.count), "training", recipe.precision, disk_bytes
    )
    launches = chunks * math.ceil(lanes / batching) * steps
    return Row(
        spec.name, count, steps, trained * steps, work.flops, work.bytes, disk_bytes,
        seconds, bound, launches,
    )  # fmt: skip


def chunk_size(experiment: Experiment, count: int, device: Device) -> int:
    """Models that are trained and committed together, of a population of ``count``."""
    chosen = chunk_size_for(count, device.count, cpu=device.is_cpu)
    return experiment.execution.chunk_size or chosen


def _model_work(
    experiment: Experiment, spec: PopulationSpec
) -> Iterator[tuple[Work, Work]]:
    """Of one model, a step and its judging: as is useful, then as it runs."""
    for network in networks_of(experiment, spec.network.name):
        parts = network, spec.attack, spec.recipe, examples_of(experiment)
        yield _step_work(*parts), _judge_work(*parts, experiment.zoo.data.test)


# Roles have them in common.
_step_work = functools.cache(cost.step_work)
_judge_work = functools.cache(cost.judge_work)


def fit_row(
    experiment: Experiment, name: str, fit: FitConfig, shadows: int, *, device: Device
) -> Row:
    """All repeats of one meta-classifier's fit, which one device does alone.

    Args:
      experiment: whose.
      name: of its detector.
      fit: its settings.
      shadows: how many it learns from, half of them benign.
      device: where.
    """
    zoo, task = experiment.zoo, get_task(experiment.zoo.task)
    taken = shadows // 2 if fit.mode == "one_class" else shadows
    steps = fit.epochs * max(1, taken // fit.batch_size)
    asked = fit.epochs * sum(zoo.count("validation"))
    asked += sum(zoo.count("calibration") + zoo.count("target"))
    if not fit.query_tuning:  # the shadows answer once, or anew in every epoch
        asked += taken * (fit.epochs if fit.query_dropout else 1)
    network = zoo.of("shadow")[0].networks[0]
    useful, real = (
        step * (steps * fit.repeats) + ask * (asked * fit.repeats)
        for step, ask in (
            fit_work(model, task, fit) for model in networks_of(experiment, network)
        )
    )
    work = Work(useful.flops, real.bytes)
    # Its products are float32 whatever the shadows' are.
    seconds, bound = device.slowest(work, "meta", "float32")
    return Row(
        f"fit {name}", fit.repeats, steps, steps * fit.repeats, work.flops, work.bytes,
        0, seconds, bound, steps + asked,
    )  # fmt: skip


def fit_work(model: Model, task: Task, fit: FitConfig) -> tuple[Work, Work]:
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
