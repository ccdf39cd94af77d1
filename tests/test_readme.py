"""What the README shows as whole files does what it says there."""

import re
from pathlib import Path

import jax
import numpy as np

from bdjax.attacks import Role
from bdjax.experiments import Experiment, zoo
from bdjax.population import plan_one
from bdjax.tasks import get_task

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def defined(name):
    """Runs the snippet that defines a function, and returns that."""
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (code,) = [text for text in snippets if f"\ndef {name}(" in text]
    names = {}
    exec(code, names)
    return names[name]


def test_a_configuration_of_ones_own():
    experiment = defined("get_config")("")
    assert isinstance(experiment, Experiment)
    names = {spec.name for spec, _ in zoo.specs(experiment)}
    assert {"shadow-jumbo-lenet", "shadow-benign-norm_net", "target-wanet"} <= names


def test_an_attack_of_ones_own():
    attack = defined("attack")(get_task("mnist"))
    trigger = attack.sample(jax.random.key(0))
    x = np.zeros((2, 28, 28, 1), np.float32)
    assert np.asarray(attack.apply(trigger, x)).sum() == 2 * 28 * 0.5
    assert attack.describe(trigger).size == 28
    y = np.arange(100) % 10
    plan = plan_one(
        jax.random.key(1), np.arange(100), trigger.rate, 0.0,
        attack.eligible(trigger, y), steps=20, batch_size=20, copies=attack.max_copies,
    )  # fmt: skip
    poisoned = np.asarray(plan.row)[np.asarray(plan.role) == Role.POISON]
    assert len(poisoned)
    assert set(y[poisoned]) == {int(trigger.target)}
