"""Trains populations: ``python -m launch.population [--config=FILE[:arg]]``.

The populations are those of an experiment, in its run directory: ``launch.mntd`` with
the same configuration and directory goes on from there. ``--repair`` first discards
damaged chunks. With ``--info``, ``--export``, ``--import`` or ``--merge`` nothing is
trained and no configuration is needed.
"""

import contextlib
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from bdjax import population, storage, telemetry
from bdjax.experiments import inventory, populations, rundir
from bdjax.experiments.own import read_config
from bdjax.types import UserError
from launch import common

Callback = Callable[[int, int], None]

_TOOLS = ("info", "export", "import_", "merge")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags of the same names say; ``import_`` is ``--import``."""

    only: tuple[str, ...] = ()
    ids: str = ""
    repair: bool = False
    info: str = ""
    export: str = ""
    import_: str = ""
    merge: tuple[str, ...] = ()
    out: str = ""

    def __post_init__(self):
        tools = [name for name in _TOOLS if getattr(self, name)]
        given = [f.name for f in dataclasses.fields(self) if getattr(self, f.name)]
        tool = tools[0] if tools else "training"
        allowed = {
            "training": {"only", "ids", "repair"},
            "info": {"info"},
            "export": {"export", "ids", "out"},
            "import_": {"import_", "out"},
            "merge": {"merge", "out"},
        }[tool]
        named = {name: f"--{name.rstrip('_')}" for name in (*given, tool)}
        if wrong := [name for name in given if name not in allowed]:
            what = "training" if tool == "training" else named[tool]
            raise UserError(f"{named[wrong[0]]} does not go with {what}; leave one out")
        if "out" in allowed and not self.out:
            raise UserError(f"{named[tool]} needs --out=DIRECTORY to write to")
        if self.export and not self.ids:
            raise UserError("--export needs --ids, such as --ids=17 or --ids=17:20")
        if tool == "training" and self.ids and not self.only:
            raise UserError("--ids needs --only, the populations that it is for")


def run(config: ConfigDict, workdir: Path, options: Options, console: Console) -> bool:
    """Does what the options say; returns whether all is well.

    Raises:
      UserError: something is at fault that the user can mend.
    """
    if options.info:
        return _info(options.info, console)
    if options.export:
        ids, out = parse_ids(options.ids), options.out
        with _progress("exporting") as done:
            files = population.export_models(options.export, ids, out, callback=done)
        _say(console, f"exported {len(files)} models to {out}")
    elif options.import_:
        with _progress("importing") as done:
            ids = population.import_models(options.import_, options.out, callback=done)
        _say(console, f"imported {len(ids)} models to {options.out}")
    elif options.merge:
        with _progress("merging") as done:
            ids = population.merge_populations(
                options.merge, options.out, callback=done
            )
        _say(console, f"{options.out} has models {ids[0]} to {ids[-1]}")
    else:
        _train(config, workdir, options, console)
    return True


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


def _train(
    config: ConfigDict, workdir: Path, options: Options, console: Console
) -> None:
    """Trains what is missing of the populations that ``--only`` names."""
    experiment = read_config(config.to_dict())
    wanted = _chosen(populations.specs(experiment), options.only)
    if options.ids:
        wanted = [(spec, parse_ids(options.ids)) for spec, _ in wanted]
    experiment.execution.local_devices()  # or UserError
    dataset, splits = populations.load_data(experiment)
    if storage.is_first():
        rundir.claim(workdir, experiment.semantic())
    for spec, _ in wanted if options.repair else []:
        directory = populations.directory(workdir, spec)
        with _progress(f"verifying {spec.name}") as done:
            damaged = population.discard_damaged(directory, spec, callback=done)
        for damage in damaged:
            _say(console, f"discarded {spec.name} {damage}")
        if not damaged:
            _say(console, f"{spec.name}: no damage in what is there")
    with populations.open_metrics(workdir) as metrics:
        populations.train(
            experiment, wanted, dataset, splits, workdir, metrics, console=console
        )


def _chosen(
    wanted: list[populations.Wanted], only: tuple[str, ...]
) -> list[populations.Wanted]:
    names = [spec.name for spec, _ in wanted]
    if unknown := sorted(set(only) - set(names)):
        raise UserError(f"no population {unknown[0]!r} in this config; it has {names}")
    return [(spec, ids) for spec, ids in wanted if not only or spec.name in only]


def _info(directory: str, console: Console) -> bool:
    """Prints what a population, or each of a run, holds; returns if it is whole."""
    summaries, faults = [], []
    places = inventory.find(directory)
    for path in places:
        try:
            with _progress(f"verifying {path.name}") as done:
                summary = population.inspect_population(path, callback=done)
        except UserError as error:  # the others of the run are told of all the same
            if len(places) == 1:
                raise
            faults.append(str(error))
        else:
            summaries.append(summary)
    if summaries:
        title = f"{directory}; accuracy, ASR and loss: 5, 50 and 95 % quantiles"
        console.print(inventory.table(title, summaries).to_rich())
    for summary in summaries:
        for line in inventory.lines(summary):
            _say(console, line)
    for fault in faults:
        _say(console, fault)
    damaged = any(summary.damaged for summary in summaries)
    if damaged:
        _say(console, "--repair with the run's configuration trains these again")
    elif not faults:
        _say(console, "every chunk that is there was read and is whole")
    return not (faults or damaged)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callback]:
    """A bar that begins with the first call, which says how long it is."""
    with contextlib.ExitStack() as stack:
        bars: list[telemetry.Progress] = []

        def callback(done: int, total: int) -> None:
            if not bars:
                bar = telemetry.progress(what, total=total, unit="chunks")
                bars.append(stack.enter_context(bar))
            bars[0].advance(done - bars[0].done)

        yield callback


def main(config: ConfigDict, workdir: Path) -> None:
    """Does what the flags say."""
    names = [f.name for f in dataclasses.fields(Options)]
    values: dict[str, Any] = {n: flags.FLAGS[n.rstrip("_")].value for n in names}
    lists = {name: tuple(values[name]) for name in ("only", "merge")}
    options = Options(**values | lists)
    if any(getattr(options, name) for name in _TOOLS):
        # They compute nothing: an accelerator is left to who is training on it.
        jax.config.update("jax_platforms", "cpu")
        if jax.process_count() > 1:
            raise UserError("only training runs in several processes; start this once")
    if not run(config, workdir, options, Console(width=max(140, Console().width))):
        sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_list("only", [], "Populations to train; all if empty.")
    flags.DEFINE_string("ids", "", "Models, ID or FIRST:END, of --only or --export.")
    flags.DEFINE_bool("repair", False, "Discard damaged chunks, then train them again.")
    flags.DEFINE_string("info", "", "Run or population to verify and sum up.")
    flags.DEFINE_string("export", "", "Population whose --ids become files in --out.")
    flags.DEFINE_string("import", "", "Exported models to make a population of.")
    flags.DEFINE_list("merge", [], "Populations to join in --out.")
    flags.DEFINE_string("out", "", "Directory to write to.")
    common.launch(
        main, config="mntd_mnist5k.py", workdir="runs/mnist5k", distributed=True
    )
