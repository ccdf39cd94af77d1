"""Commands and options, and what ``--help`` says of them. Imports nothing heavy."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from bdjax.cli import scan_arguments

_INTRO = """\
Does a trained neural network carry a backdoor? Scans a network, whatever it was made
with; and trains networks with and without one, to measure how well detectors tell.

  bdjax scan net.onnx --images clean/   is this network backdoored?
  bdjax scan --help                     other formats, other answers

  bdjax run --list                      experiments that come with it
  bdjax run mntd_mnist5k:smoke          a first one, in a minute: all parts, tiny
  bdjax run mntd_mnist5k                the default one, in minutes on two CPU cores
  bdjax COMMAND --help                  more of a command

The same from Python: bdjax.scan(network, images=...) gives the report."""

_EXPERIMENT = """\
EXPERIMENT is a name of `bdjax run --list`, or a Python file with a function
get_config(arguments) -> bdjax.experiments.config.Experiment. What follows a colon goes
to that function (smoke: tiny; others are named in the file). Any field can be set:

  --seed=3  --zoo.data.path=mine.npz  --detectors=mntd,dl_tnd  --fit.epochs=20

A run that was interrupted goes on when the same command is given again."""

_PROCESSES = """\
Several processes, on one or many machines, train together in a run directory that all
see: each started with --coordinator, --num_processes and its own --process_id. Under
Slurm, Open MPI and on TPU pods they find each other without."""


class UsageError(Exception):
    """The command line is at fault; the message is one line.

    Attributes:
      status: to exit with.
    """

    def __init__(self, message: str, status: int = 2):
        super().__init__(message)
        self.status = status


class _Parser(argparse.ArgumentParser):
    status = 2  # of a mistake

    def error(self, message: str) -> NoReturn:
        line = " ".join(f"{message}; see {self.prog} --help".split())
        raise UsageError(line, self.status)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What is wanted: ``command``, its options, and ``overrides`` of the experiment.

    ``place`` is the function for it, such as ``"run.sweep"``.

    Raises:
      UsageError: there is no such command or option, or a value is at fault.
    """
    looks: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog="bdjax", description=_INTRO, allow_abbrev=False, **looks)
    parser.add_argument("--version", action="store_true", help="print it and exit")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands"
    )
    for name, (place, line, add) in _COMMANDS.items():
        text = f"{line[0].upper()}{line[1:]}."
        one = commands.add_parser(
            name, help=line, description=text, allow_abbrev=False, **looks
        )
        if name in _STATUSES:
            one.status = _STATUSES[name]
        add(one, one.add_argument)
        one.set_defaults(place=place)
    options, rest = parser.parse_known_args(list(arguments))
    if options.version:
        from importlib import metadata

        print(f"bdjax {metadata.version('bdjax')}")
        parser.exit()
    if not options.command:
        parser.print_help()
        parser.exit(2)
    if rest and not getattr(options, "experiment", None):
        raise UsageError(
            f"unknown arguments {rest}; see bdjax {options.command} --help",
            _STATUSES.get(options.command, 2),
        )
    options.overrides = rest
    return options


_Add = Callable[..., Any]


def _run(parser: argparse.ArgumentParser, add: _Add) -> None:
    _experiment(parser, nargs="?")
    add("--list", action="store_true", help="list the experiments that have names")
    _processes(parser)


def _report(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("run", metavar="RUN", help="a run's directory")


def _sweep(parser: argparse.ArgumentParser, add: _Add) -> None:
    _experiment(parser)
    few = "shadows of each fit, such as 8,16,32; without, 8, 16, ... all"
    add("--sizes", type=_list_of(int), default=(), metavar="N,...", help=few)
    names = {"type": _list_of(str), "default": ("mntd", "mntd_no_tuning")}
    what = "what to fit: mntd, mntd_no_tuning (both without this), mntd_one_class"
    add("--variants", metavar="NAME,...", help=what, **names)
    equal = "as many optimiser steps for few shadows as for all"
    add("--equal_steps", action="store_true", help=equal)


def _population(parser: argparse.ArgumentParser, add: _Add) -> None:
    _experiment(parser)
    which = "populations to train; all without"
    add("--only", type=_list_of(str), default=(), metavar="NAME,...", help=which)
    add("--ids", default="", metavar="ID|FIRST:END", help="models of --only")
    add("--repair", action="store_true", help="train damaged chunks again")
    _processes(parser)


def _inspect(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("run", metavar="DIR", help="of a run, or of one population")


def _export(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("population", metavar="DIR", help="a run's populations/NAME")
    add("--ids", required=True, metavar="ID|FIRST:END", help="17, or 17:20 for three")
    _out(add)


def _import(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("files", metavar="DIR", help="with exported models")
    _out(add)


def _merge(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("populations", metavar="DIR", nargs="+", help="adjoining ids, one recipe")
    _out(add)


def _plan(parser: argparse.ArgumentParser, add: _Add) -> None:
    _experiment(parser)
    add("--device", default="here", help="here (measured), or a data sheet: h100, ...")
    add("--devices", type=int, default=0, help="how many; one, or all here, without")
    add("--out", default="", metavar="FILE.json", help="writes the plan, too")


def _bench(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("--out", default="runs/bench.json", metavar="FILE.json", help="the figures")
    add("--set", default="default", metavar="SET", help="formulations, scaling or gpu")
    add("--quick", action="store_true", help="little work: shows that all parts run")
    budget = "for all (280); stopped before, it tells what it has"
    add("--budget", type=float, default=280.0, metavar="SECONDS", help=budget)


def _references(parser: argparse.ArgumentParser, add: _Add) -> None:
    add("--mnist", default="", metavar="FILE.npz", help="without, its regimes are not")
    add("--cifar10", default="", metavar="FILE.npz", help="likewise")
    which = "which; all without"
    add("--regimes", type=_list_of(str), default=(), metavar="NAME,...", help=which)
    add("--out", default="", metavar="DIR", help="WORKDIR/calibrations without")
    add("--workdir", default="runs/references", metavar="DIR", help="of their runs")


_COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser, _Add], None]]]
_COMMANDS = {
    "scan": ("scan.run", "say whether a network is backdoored", scan_arguments.scan),
    "calibrate": (
        "scan.calibrate",
        "set the thresholds of scans on clean networks of your own",
        scan_arguments.calibrate,
    ),
    "run": ("run.run", "run an experiment: train, ask the detectors, report", _run),
    "report": ("run.report", "write a run's report again, from its scores", _report),
    "sweep": ("run.sweep", "MNTD at several numbers of shadows of a run", _sweep),
    "population": ("population.train", "train networks, and no more", _population),
    "inspect": ("population.inspect", "verify and sum up populations", _inspect),
    "export": ("population.export", "make files of networks", _export),
    "import": ("population.import_", "make a population of such files", _import),
    "merge": ("population.merge", "join populations", _merge),
    "plan": ("plan.run", "say what an experiment will cost, and train nothing", _plan),
    "bench": ("bench.run", "measure how fast this machine is, beside PyTorch", _bench),
    "references": ("run.references", "set the built-in thresholds anew", _references),
}

# Of mistakes in a command's line; 2 elsewhere, which says something of a network here.
_STATUSES = dict.fromkeys(("scan", "calibrate"), scan_arguments.USAGE)


def _experiment(parser: argparse.ArgumentParser, **options: Any) -> None:
    parser.usage = f"{parser.prog} EXPERIMENT[:ARGUMENTS] [--FIELD=VALUE ...] [options]"
    parser.epilog = _EXPERIMENT
    what = "a name, or a file"
    parser.add_argument("experiment", metavar="EXPERIMENT", help=what, **options)
    where = "the run's directory, resumed if it is there; runs/EXPERIMENT without"
    parser.add_argument("--workdir", default="", metavar="DIR", help=where)


def _out(add: _Add) -> None:
    add("--out", required=True, metavar="DIR", help="to write to")


def _processes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several processes", _PROCESSES)
    add: _Add = group.add_argument
    add("--coordinator", metavar="HOST:PORT", help="of process 0")
    add("--process_id", type=int, metavar="I", help="which this is, from 0")
    add("--num_processes", type=int, metavar="N", help="how many there are")
    wait = {"type": _at_least(1), "default": 300, "metavar": "S"}
    add("--start_seconds", help="to wait for all of them", **wait)
    silence = {"type": _at_least(10), "default": 100, "metavar": "S"}
    add("--heartbeat_seconds", help="silence after which one is dead", **silence)


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number from {least} on"
            )
        return int(text)

    return parse


def _list_of(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        except ValueError:
            wrong = f"{text!r} are not whole numbers, such as 8,16,32"
            raise argparse.ArgumentTypeError(wrong) from None

    return parse
