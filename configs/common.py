"""Pieces that experiment configurations share.

A configuration is a plain ``ConfigDict`` whose fields are those of
``bdjax.experiments.config.MNTDConfig`` (``mntd_*.py``) or
``bdjax.experiments.tnd_config.TNDConfig`` (``dltnd_*.py``); the launcher builds that
from it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from bdjax import tnd as detectors
from bdjax.evaluation import BootstrapConfig
from bdjax.experiments.config import DataConfig, PopulationConfig, TrainConfig
from bdjax.experiments.tnd_config import SolverConfig, TNDPopulationConfig
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
            "architecture": "",
        }
    )


def tnd(task: str) -> ConfigDict:
    """What DL-TND experiments share; data, population, training are yet to be set."""
    return ConfigDict(
        {
            "task": task,
            "seed": 0,
            "architecture": "",
            "detectors": (
                *("bdjax", "bdjax_sparse", "bdjax_dense", "bdjax_images"),
                *("bdjax_similarity", "df"),
            ),
            "per_class": 5,
            "sweep_per_class": (),
            "quantiles": (0.0, 0.1, 0.25, 0.5, 0.75),
            "slow_models": 0,
            "min_asr": 0.5,
            "false_alarms": 0.1,
            "solver": dataclasses.asdict(SolverConfig()),
            "confidence": 0.95,
            "execution": dataclasses.asdict(Execution()),
            "solving": dataclasses.asdict(detectors.Execution()),
            "formulation": "auto",
        }
    )


def data(source: str, **fields: Any) -> ConfigDict:
    """See :class:`DataConfig`."""
    return ConfigDict(dataclasses.asdict(DataConfig(source, **fields)))


def population(**fields: Any) -> ConfigDict:
    """See :class:`PopulationConfig`."""
    return ConfigDict(dataclasses.asdict(PopulationConfig(**fields)))


def tnd_population(**fields: Any) -> ConfigDict:
    """See :class:`TNDPopulationConfig`."""
    return ConfigDict(dataclasses.asdict(TNDPopulationConfig(**fields)))


def train(**fields: Any) -> ConfigDict:
    """See :class:`TrainConfig`."""
    return ConfigDict(dataclasses.asdict(TrainConfig(**fields)))


def full(config: ConfigDict, shadow_epochs: int, target_epochs: int) -> None:
    """The paper's scale: 2048 + 2048 shadows, 256 targets of each kind, TF32.

    And its fit, where a file has one for fewer shadows.
    """
    config.population.update(shadows=2048, validation=256, targets=256)
    for train, epochs in (
        (config.shadow, shadow_epochs),
        (config.target, target_epochs),
    ):
        train.update(steps=0, epochs=epochs, precision="tf32", diversity=0.0)
    config.fit.update(dataclasses.asdict(FitConfig()))


def official(config: ConfigDict) -> None:
    """Every parity option: what the published code does and bdjax does not."""
    config.data.split = "official"
    config.population.locations = "official"
    quirks = FitConfig(clip=False, answers="logits", query_dropout=True)
    config.fit.update(dataclasses.asdict(quirks))
    config.shadow.poisoned_length = config.target.poisoned_length = "official"
    config.shadow.diversity = 0.0


def smoke(config: ConfigDict) -> None:
    """Few models, steps and epochs: proves that all parts run, and no more."""
    config.population.update(shadows=4, validation=2, targets=2)
    config.shadow.update(steps=5, epochs=0)
    config.target.update(steps=5, epochs=0)
    config.data.test = min(config.data.test, 100)
    config.fit.update(epochs=2, repeats=2)
    config.execution.chunk_size = 2
    config.bootstrap.samples = 100


def tnd_ablation(config: ConfigDict) -> None:
    """Adds other formulations, on some models of every population."""
    config.detectors = (
        *config.detectors,
        *("bdjax_features", "bdjax_channel", "bdjax_restarts"),
        *("paper", "official", "df_official"),
    )
    config.slow_models = config.slow_models or 4


def tnd_smoke(config: ConfigDict) -> None:
    """Few models, steps and iterations: proves that all parts run, and no more."""
    attacks = len(config.population.target_attacks)
    config.population.update(calibration=2, targets=2, attacked=(2,) * attacks)
    config.train.steps, config.train.epochs = 40, 0
    config.data.test = 100
    config.per_class, config.sweep_per_class = 2, (1,)
    config.slow_models = 1
    config.min_asr = 0.0  # no attack takes hold so soon
    config.solver.update(iterations=3, searches=2)
    config.execution.chunk_size = 2


def apply(
    arg: str, config: ConfigDict, **changes: Callable[[ConfigDict], None]
) -> None:
    """Applies the comma-separated changes that ``--config=FILE:arg`` names.

    In the order of ``changes``, whatever that of ``arg`` is: those of the data come
    before those of the scale, which build on them.

    Raises:
      UserError: an argument that this file does not know.
    """
    named = [name for name in (arg or "").split(",") if name]
    if unknown := [name for name in named if name not in changes]:
        raise UserError(
            f"unknown argument {unknown[0]!r} of --config; there are {list(changes)}"
        )
    for name, change in changes.items():
        if name in named:
            change(config)
