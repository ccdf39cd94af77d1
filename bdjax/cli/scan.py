"""``bdjax scan``: is this network backdoored? And ``bdjax calibrate`` for it."""

import argparse
import sys
from typing import Any

from bdjax import detectors
from bdjax.cli.answers import Answer, Watch
from bdjax.cli.arguments import UsageError
from bdjax.cli.scan_arguments import USAGE
from bdjax.networks import Web
from bdjax.scanning.scan import scan
from bdjax.types import UserError


def run(options: argparse.Namespace) -> None:
    """Scans a network; whatever ends it, what is known by then is told.

    Ends with the status that ``bdjax scan --help`` says.

    Raises:
      UsageError: options that do not go together, or names that there are none of.
      UserError: see :func:`bdjax.scanning.scan.scan`, or a file cannot be written.
    """
    _known(options.detectors)
    answer = Answer.asked(options)
    with Watch(answer, options.budget, options.started) as watch:
        report = scan(
            options.network,
            detector=options.detector,
            calibration=options.calibration,
            budget=options.budget,
            watch=watch.tell,
            **_given(options),
        )
    answer.write(report)
    answer.show(report)
    sys.exit(answer.status(report))


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


def _known(names: tuple[str, ...]) -> None:
    """Refuses detectors that there are none of."""
    try:
        for name in names:
            detectors.get_detector(name)
    except UserError as error:
        raise UsageError(f"--detectors: {error}", USAGE) from error
