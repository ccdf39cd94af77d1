"""Populations of models, trained in parallel and kept on disk."""

from bdjax.population.examples import Examples
from bdjax.population.exchange import export_models, import_models, merge_populations
from bdjax.population.inspection import (
    Damage,
    Summary,
    discard_damaged,
    inspect_population,
)
from bdjax.population.judge import Quality
from bdjax.population.model_files import load_model
from bdjax.population.plan import BatchPlan, plan_one
from bdjax.population.population import Population, load_population
from bdjax.population.recipe import Execution, Recipe
from bdjax.population.run import train_population
from bdjax.population.spec import PopulationSpec, check_distinct
from bdjax.population.train import train_models

__all__ = [
    "BatchPlan",
    "Damage",
    "Examples",
    "Execution",
    "Population",
    "PopulationSpec",
    "Quality",
    "Recipe",
    "Summary",
    "check_distinct",
    "discard_damaged",
    "export_models",
    "import_models",
    "inspect_population",
    "load_model",
    "load_population",
    "merge_populations",
    "plan_one",
    "train_models",
    "train_population",
]
