"""Options of ``bdjax scan`` and ``bdjax calibrate``. Imports nothing heavy."""

import argparse
import functools
import math
import re
import time
from collections.abc import Callable
from typing import Any, cast

ACCESS = ("labels", "probabilities", "logits", "gradients", "features", "weights")
"""Values of ``detectors.Access`` that scans can be kept to."""

FORMATS = ("text", "json", "sarif", "html")
"""Ways to write a report; keys of ``scanning.render.FORMATS``."""

USAGE = 64
"""Exit status of a command line that is at fault, as sysexits.h has it."""

SCAN = """\
Is this network backdoored? Asks every detector that fits what can be seen of the
network, the cheapest first, and gives one answer with all that it rests on.

  bdjax scan net.onnx --images clean/            a folder a class
  bdjax scan net.onnx --preprocess imagenet      without: say how it takes them
  bdjax scan net.pt2 --images clean.npz --out report.html
  bdjax scan mypackage.nets:build --weights w.safetensors --images clean/
  bdjax scan http://localhost:8000/predict --detector runs/mnist5k/detector
  bdjax scan net.onnx --images clean/ --budget 2m --out scan.sarif     in CI

Exit status: 0 nothing found (no proof that there is nothing), 1 trojaned,
2 inconclusive or an error, 64 a mistake in the command line."""

CALIBRATE = """\
Sets the thresholds of `bdjax scan` on networks of your own that are known to be
clean, trained as those to be judged are. Others come with bdjax.

  bdjax calibrate networks/ --images clean/ --out mine.json
  bdjax scan suspect.onnx --images clean/ --calibration mine.json

A false-alarm rate of 5 % takes at least 19 networks; more are better."""

_NETWORK = """\
a file (.onnx; .pt2, or .pt of TorchScript; .keras; .jax of jax.export), \
package.module:callable, or an http address"""

_READING = """\
Say what you know: it is checked on labelled images, against the usual ways.
The report says which fits."""

_HTTP = """\
JSON both ways. No secrets here: --auth-env NAME sends what the environment
variable NAME holds, and never prints it."""

Add = Callable[..., Any]


def scan(parser: argparse.ArgumentParser, add: Add) -> None:
    """Adds those of ``bdjax scan``."""
    parser.usage = f"{parser.prog} NETWORK [--images PATH] [options]"
    _look(parser, SCAN)
    group = parser.add_argument_group("network")
    group.add_argument("network", metavar="NETWORK", help=_NETWORK)
    _network(group.add_argument)
    _images(parser)
    add = parser.add_argument_group("detectors").add_argument
    which = "which to ask, in place of all that fit: dl_tnd,df_tnd,..."
    add("--detectors", type=_names, default=(), metavar="NAME,...", help=which)
    fitted = "an MNTD detector that `bdjax run` has fitted, the way to ask a black box"
    add("--detector", default=None, metavar="DIR", help=fitted)
    own = "thresholds of `bdjax calibrate`; the built-in ones without"
    add("--calibration", default=None, metavar="FILE", help=own)
    kept: dict[str, Any] = {"type": seconds, "default": None, "metavar": "TIME"}
    add("--budget", help="for all, such as 60s, 2m or 1h; no bound without", **kept)
    _seed(add)
    _answer(parser)
    _http(parser)


def calibrate(parser: argparse.ArgumentParser, add: Add) -> None:
    """Adds those of ``bdjax calibrate``."""
    parser.usage = f"{parser.prog} NETWORK ... --out FILE [--images PATH] [options]"
    _look(parser, CALIBRATE)
    group = parser.add_argument_group("networks")
    what = "clean ones, as `bdjax scan` takes them, or directories of files"
    group.add_argument("networks", metavar="NETWORK", nargs="+", help=what)
    _network(group.add_argument)
    _images(parser)
    add = parser.add_argument_group("thresholds").add_argument
    add("--out", required=True, metavar="FILE.json", help="to write to")
    which = "those to set, in place of all that fit"
    add("--detectors", type=_names, default=(), metavar="NAME,...", help=which)
    share = "of clean networks to come that may be flagged (0.05)"
    add("--false-alarms", type=_share, default=0.05, metavar="SHARE", help=share)
    _seed(add)
    add("--quiet", action="store_true", help="no progress")
    _http(parser)


def seconds(text: str) -> float:
    """``"90"``, ``"90s"``, ``"1.5m"`` and ``"1h"`` as seconds."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(s|m|min|h|)", text.strip())
    if not match or not float(match[1]):
        wrong = f"{text!r} is no time; give one such as 60s, 2m or 1h"
        raise argparse.ArgumentTypeError(wrong)
    return float(match[1]) * {"h": 3600, "m": 60, "min": 60}.get(match[2], 1)


def _look(parser: argparse.ArgumentParser, description: str) -> None:
    looks = functools.partial(
        argparse.RawDescriptionHelpFormatter, max_help_position=27
    )
    parser.formatter_class = cast(Any, looks)
    parser.set_defaults(started=time.monotonic())
    parser.description = description


def _network(add: Add) -> None:
    file = "weights of what a callable builds: .safetensors, or .pth of a state dict"
    add("--weights", default=None, metavar="FILE", help=file)
    most = {"choices": ACCESS, "default": None, "metavar": "WHAT"}
    what = f"see no more of it than this: {', '.join(ACCESS)}; all that can be without"
    add("--access", help=what, **most)
    layer = "its penultimate layer, if that is not found by itself"
    add("--layer", default=None, metavar="NAME", help=layer)
    few = "how many labels it tells apart, if it does not say"
    add("--num-classes", type=_from(2), default=None, metavar="N", help=few)
    called = "what they are called, in its order"
    add("--classes", type=_names, default=(), metavar="NAME,...", help=called)


def _images(parser: argparse.ArgumentParser) -> None:
    add: Add = parser.add_argument_group("images").add_argument
    where = "clean ones: a folder a class, or an npz with images and labels"
    add("--images", default=None, metavar="PATH", help=where)
    labels = "labels in the images' order, .npy or one a line"
    add("--labels-from", default=None, metavar="FILE", help=labels)
    add = parser.add_argument_group("how it takes them", _READING).add_argument
    usual = "such as imagenet, cifar10, mnist, 0..1, 0..255 or -1..1"
    add("--preprocess", default=None, metavar="NAME", help=usual)
    ends = "what black and white are: 0 1, 0 255, -1 1"
    pair: dict[str, Any] = {"nargs": 2, "type": _finite, "metavar": ("LOW", "HIGH")}
    add("--value-range", default=None, help=ends, **pair)
    of: dict[str, Any] = {"type": _numbers, "default": None, "metavar": "X,..."}
    add("--mean", help="then subtracted: one number, or one a channel", **of)
    add("--std", help="then divided by, likewise", **of)
    add("--layout", choices=("NCHW", "NHWC"), default=None, help="order of axes")
    add("--order", choices=("RGB", "BGR"), default=None, help="order of channels")
    sizes = "of an input as it is taken, if nothing else tells: 3,32,32"
    add("--shape", type=_shape, default=None, metavar="N,...", help=sizes)


def _answer(parser: argparse.ArgumentParser) -> None:
    add: Add = parser.add_argument_group("answer").add_argument
    how = "text, json, sarif or html: of --out, if its name does not say, else printed"
    add("--format", choices=FORMATS, default=None, metavar="FORMAT", help=how)
    file = "writes the report: .html, .json, .sarif or .txt; may be given again"
    add("--out", action="append", default=[], metavar="FILE", help=file)
    when = "what ends in a status that is not 0: trojaned,inconclusive (without this), \
trojaned, or never; errors always do"
    outcomes: dict[str, Any] = {
        "type": _outcomes,
        "default": ("trojaned", "inconclusive"),
    }
    add("--fail-on", metavar="WHAT", help=when, **outcomes)
    add("--quiet", action="store_true", help="one line of text, and no progress")


def _http(parser: argparse.ArgumentParser) -> None:
    add: Add = parser.add_argument_group("network behind HTTP", _HTTP).add_argument
    body = "field of the request with the images, a.b for inner ones; '' for the body"
    add("--request-field", default=None, metavar="FIELD", help=f"{body} (instances)")
    answer = "field of the answer, likewise (predictions)"
    add("--answer-field", default=None, metavar="FIELD", help=answer)
    add("--batch", type=_from(1), metavar="N", help="images of a request (64)")
    add("--timeout", type=seconds, metavar="TIME", help="until an answer (30s)")
    add("--retries", type=_from(0), metavar="N", help="of a failed request (4)")
    rate = "requests a second, at most; no bound without"
    add("--rate", type=_positive, metavar="R", help=rate)
    add(
        "--auth-env",
        default=None,
        metavar="NAME",
        help="variable with a header's value",
    )
    add(
        "--auth-header",
        default=None,
        metavar="NAME",
        help="that header (Authorization)",
    )


def _seed(add: Add) -> None:
    add("--seed", type=_from(0), default=0, metavar="N", help="of all randomness (0)")


def _from(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**32:
            wrong = f"{text!r} is not a number from {least} on"
            raise argparse.ArgumentTypeError(wrong)
        return int(text)

    return parse


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def _positive(text: str) -> float:
    if (value := _finite(text)) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def _share(text: str) -> float:
    if not 0 < (value := _finite(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_finite(part) for part in text.split(","))


def _shape(text: str) -> tuple[int, ...]:
    sizes = tuple(_from(1)(part.strip()) for part in re.split("[,x]", text))
    return sizes


def _names(text: str) -> tuple[str, ...]:
    """Commas part names, but not the options of one: ``dl_tnd:a=1,b=2,df_tnd``."""
    parts = (part.strip() for part in re.split(r",(?!\s*\w+=)", text))
    return tuple(part for part in parts if part)


def _outcomes(text: str) -> tuple[str, ...]:
    names = _names(text)
    if not names or not (
        {*names} <= {"trojaned", "inconclusive"} or names == ("never",)
    ):
        wrong = f"{text!r} is none of trojaned, inconclusive, both with a comma, never"
        raise argparse.ArgumentTypeError(wrong)
    return () if names == ("never",) else names
