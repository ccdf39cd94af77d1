"""Plans of every task: what is counted fits what runs; nothing here compiles a lot."""

import dataclasses
import math
from types import SimpleNamespace

import jax
import pytest
from test_tasks import NAMES, examples_of, make_up

from bdjax.experiments import costs, plan, presets, zoo
from bdjax.experiments.config import DataConfig
from bdjax.experiments.devices import DEVICES
from bdjax.mntd import FitConfig
from bdjax.population import Recipe, cost
from bdjax.population.flops import count_work
from bdjax.tasks import get_task

STILL = FitConfig(query_tuning=False)


def experiment_of(name):
    return presets.mntd(
        name,
        DataConfig("any", defender=16, attacker=20, test=8),
        shadows=4,
        validation=2,
        targets=2,
        shadow=Recipe(steps=3, batch_size=4),
        target=Recipe(steps=5, batch_size=4),
        attacks=("M",) if get_task(name).words else ("M", "B"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_those_of_examples(name):
    dataset = make_up(get_task(name))
    found = cost.example_shapes(get_task(name), len(dataset.x), dataset.x.dtype)
    real = examples_of(SimpleNamespace(dataset=dataset))
    shapes = [
        jax.tree.map(lambda a: (tuple(a.shape), str(a.dtype)), e) for e in (found, real)
    ]
    assert shapes[0] == shapes[1]
    held = sum(4 * math.prod(a.shape) for a in jax.tree.leaves(real))
    assert cost.held_bytes(real) == held


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_counted(name):
    experiment, device = experiment_of(name), DEVICES["h100"]
    found = [
        costs.population_row(experiment, wanted, batching=2, device=device)
        for wanted in zoo.specs(experiment)
    ]
    found += [
        costs.fit_row(experiment, kind, fit, 8, device=device)
        for kind, fit in (("mntd", FitConfig()), ("still", STILL))
    ]
    for row in found:
        assert row.flops > 0, row.name
        assert row.bytes > 0, row.name
        assert 0 < row.seconds < 10, row.name
    by_name = {row.name: row for row in found}
    # Equally long, though some carry triggers; without tuning, less to do.
    assert by_name["shadow-benign"].steps == by_name["shadow-jumbo"].steps == 3
    assert by_name["target-M"].steps == 5
    assert by_name["fit still"].flops < by_name["fit mntd"].flops


@pytest.mark.parametrize("answers", ["logits", "log_probabilities"])
def test_one_logit_is_read_once_or_as_two(answers):
    fit = FitConfig(answers=answers)
    single = dataclasses.replace(get_task("npz:6:2"), one_logit=True)
    for task, logits in ((get_task("npz:6:2"), 2), (single, 1)):
        model = task.network(formulation="lax")
        _, asked = costs.fit_work(model, task, fit)
        read = logits if answers == "logits" else 2
        hidden = fit.hidden
        classifier = 2 * hidden * (fit.queries * read + 1)
        network = count_work(
            model.apply,
            cost.variables_shapes(model),
            jax.ShapeDtypeStruct((fit.queries, 6), "float32"),
        )
        assert asked.flops == network.flops + classifier


@pytest.mark.parametrize("name", ["mr:7:40", "npz:6:2"])
def test_a_plan_of_what_is_no_image(name):
    found = plan.make_plan(experiment_of(name), DEVICES["h100"])
    assert found.memory_bytes > cost.held_bytes(cost.example_shapes(get_task(name), 44))
    assert found.step.flops >= found.useful_flops > 0
