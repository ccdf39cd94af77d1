"""``bdjax scan``: is this network backdoored? And ``bdjax calibrate`` for it."""

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from bdjax import detectors, scanning, telemetry
from bdjax.cli import answers, interrupts
from bdjax.cli.answers import Answer, Watch
from bdjax.cli.arguments import UsageError
from bdjax.cli.scan_arguments import USAGE
from bdjax.networks import Web
from bdjax.scanning import calibrations
from bdjax.scanning.reading import Stated
from bdjax.scanning.render import words
from bdjax.scanning.report import Report
from bdjax.types import UserError


def run(options: argparse.Namespace) -> None:
    """Scans a network; whatever ends it, what is known by then is told.

    Ends with the status that ``bdjax scan --help`` says.

    Raises:
      UsageError: options that do not go together, or names that there are none of.
      UserError: see :func:`bdjax.scanning.scan.scan`, or a file cannot be written.
    """
    _known(options)
    answer = Answer.asked(options)
    with Watch(answer, options.budget, options.started) as watch:
        report = scanning.scan(
            options.network,
            detector=options.detector,
            calibration=options.calibration,
            budget=options.budget,
            watch=watch.tell,
            **_given(options),
        )
    try:
        answer.write(report)
    except OSError:  # what took minutes is told all the same
        dataclasses.replace(answer, files=()).show(report)
        raise
    answer.show(report)
    sys.exit(answer.status(report))


def calibrate(options: argparse.Namespace) -> None:
    """Sets thresholds on clean networks, and writes them.

    Raises:
      UsageError: see :func:`run`.
      UserError: see :func:`bdjax.scanning.calibrate.calibrate`.
    """
    _known(options)
    answers.check(Path(options.out))
    interrupts.on_end(_given_up)
    given = _given(options) | {"progress": False}
    last: list[Report] = []
    with telemetry.reporter(
        "calibrating", unit="networks", enabled=not options.quiet
    ) as told:

        def watch(done: int, total: int, report: Report) -> None:
            told(done, total)
            last[:] = [report]

        found = scanning.calibrate(
            options.networks,
            false_alarms=options.false_alarms,
            command=shlex.join(["bdjax", *sys.argv[1:]]),
            watch=watch,
            **given,
        )
    calibrations.save(found, options.out)
    for judgement in last[0].judgements:
        if one := found.get(judgement.name):
            text = f"threshold {one.threshold:.3g}, of {one.source}"
        else:
            text = f"none: {'; '.join(words.why(judgement))}"
        print(f"{judgement.title}: {text}")
    print(f"Written: {options.out}")


def _given_up(why: str, status: int) -> NoReturn:
    line = f"{why}; no thresholds were written"
    interrupts.leave(line, status, before=telemetry.stop)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What both commands hand on, as the library's functions call it."""
    names = (
        *("images", "weights", "access", "layer", "shape", "num_classes", "classes"),
        *("preprocess", "layout", "order", "mean", "std", "seed"),
    )
    return {name: getattr(options, name) for name in names} | {
        "labels": options.labels_from,
        "value_range": options.value_range and tuple(options.value_range),
        "detectors": options.detectors or None,
        "web": _web(options),
        "progress": not options.quiet,
    }


def _web(options: argparse.Namespace) -> Web:
    given = {
        "request": options.request_field,
        "answer": options.answer_field,
        **{
            name: getattr(options, name)
            for name in ("batch", "timeout", "retries", "rate")
        },
        "auth_env": options.auth_env,
        "auth_header": options.auth_header,
    }
    return Web(**{name: value for name, value in given.items() if value is not None})


def _known(options: argparse.Namespace) -> None:
    """Refuses names that there are none of, and readings that make no sense."""
    try:
        for name in options.detectors:
            detectors.get_detector(name)
        stated = {name: getattr(options, name) for name in Stated._fields}
        Stated(**stated).check()
    except UserError as error:
        raise UsageError(f"{error}", USAGE) from error
