"""Whole experiments: from a configuration to a results file and a report."""
