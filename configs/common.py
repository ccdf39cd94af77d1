"""Pieces that experiment configurations share.

A configuration is a plain ``ConfigDict`` whose fields are those of
``bdjax.experiments.config.MNTDConfig``; the launcher builds that from it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from bdjax.evaluation import BootstrapConfig
from bdjax.experiments.config import DataConfig, PopulationConfig, TrainConfig
from bdjax.mntd import FitConfig
from bdjax.population import Execution
from bdjax.types import UserError


def mntd(task: str) -> ConfigDict:
    """What MNTD experiments share; data, population and lengths are yet to be set."""
    return ConfigDict(
        {
            "task": task,
            "seed": 0,
            "fit": dataclasses.asdict(FitConfig()),
            "variants": ("jumbo", "no_tuning", "one_class"),
            "bootstrap": dataclasses.asdict(BootstrapConfig()),
            "execution": dataclasses.asdict(Execution()),
            "formulation": "auto",
        }
    )


def data(source: str, **fields: Any) -> ConfigDict:
    """See :class:`DataConfig`."""
    return ConfigDict(dataclasses.asdict(DataConfig(source, **fields)))


def population(**fields: Any) -> ConfigDict:
    """See :class:`PopulationConfig`."""
    return ConfigDict(dataclasses.asdict(PopulationConfig(**fields)))


def train(**fields: Any) -> ConfigDict:
    """See :class:`TrainConfig`."""
    return ConfigDict(dataclasses.asdict(TrainConfig(**fields)))


def apply(
    arg: str, config: ConfigDict, **changes: Callable[[ConfigDict], None]
) -> None:
    """Applies the comma-separated changes that ``--config=FILE:arg`` names.

    Raises:
      UserError: an argument that this file does not know.
    """
    for name in filter(None, (arg or "").split(",")):
        if name not in changes:
            raise UserError(
                f"unknown argument {name!r} of --config; there are {list(changes)}"
            )
        changes[name](config)
