"""Experiments on a user's own arrays: what the file itself can answer."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bdjax.data.npz import describe
from bdjax.experiments.config import MNTDConfig, from_mapping
from bdjax.tasks.npz import name_of

TASK = "npz"
DEFENDER, ATTACKER = 0.25, 0.5
"""Shares of the training rows; without a test split, what is left is for testing.

The defender's may be more, one a class.
"""
MOST_TEST = 2000
"""Test rows, for no more than judging models would take as long as training them."""


def read_config(values: Mapping[str, Any]) -> MNTDConfig:
    """The experiment that a launcher is given, complete.

    Where the task is ``npz``, the file's headers and labels say which one it is, and
    sizes of 0 become shares of its rows.

    Raises:
      UserError: a field is at fault, or the file.
    """
    return resolve(from_mapping(MNTDConfig, values))


def resolve(config: MNTDConfig) -> MNTDConfig:
    """See :func:`read_config`; any other task is returned as it is."""
    if config.task.partition(":")[0] != TASK:
        return config
    data = config.data
    found = describe(data.path or None)
    classes = int(found.labels.max()) + 1
    task = config.task
    if task == TASK:
        task = name_of(found.shape, found.dtype, classes)
    # Shadow models need a row of every class, of which there may be many.
    defender = data.defender or max(int(DEFENDER * found.train), classes)
    attacker = data.attacker or int(ATTACKER * found.train)
    rest = found.test or found.train - defender - attacker
    return dataclasses.replace(
        config,
        task=task,
        data=dataclasses.replace(
            data,
            defender=defender,
            attacker=attacker,
            test=data.test or max(1, min(rest, MOST_TEST)),
        ),
    )
