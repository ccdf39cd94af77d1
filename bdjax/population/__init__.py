"""Populations of models, trained in parallel and kept on disk."""

from bdjax.population.plan import BatchPlan, plan_one
from bdjax.population.recipe import Execution, Recipe
from bdjax.population.run import (
    Population,
    PopulationSpec,
    load_population,
    train_population,
)
from bdjax.population.train import Examples, Quality, train_models

__all__ = [
    "BatchPlan",
    "Examples",
    "Execution",
    "Population",
    "PopulationSpec",
    "Quality",
    "Recipe",
    "load_population",
    "plan_one",
    "train_models",
    "train_population",
]
