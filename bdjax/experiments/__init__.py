"""Whole experiments: from a configuration to a results file and a report."""

from bdjax.experiments.config import DataConfig, Experiment, Group, Zoo

__all__ = ["DataConfig", "Experiment", "Group", "Zoo"]
