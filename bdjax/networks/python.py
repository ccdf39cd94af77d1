"""Python callables: ``package.module:callable``, and functions as objects.

What is called with nothing builds a network, of any kind that this room opens; what
takes an argument is the network itself.
"""

import dataclasses
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bdjax.networks import functions, weights
from bdjax.networks.base import Given, Opened
from bdjax.types import UserError

_SPEC = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def recognises(source: Any) -> bool:
    """A callable, it and its variables, or the name of one."""
    if isinstance(source, str):
        return bool(_SPEC.fullmatch(source)) and not Path(source).exists()
    return callable(source) or _is_pair(source)


def _is_pair(source: Any) -> bool:
    """A function with its variables."""
    return isinstance(source, tuple) and len(source) == 2 and callable(source[0])


def open(source: Any, given: Given) -> Opened:
    """Opens it; see :func:`bdjax.networks.open_network`."""
    if not isinstance(source, str):
        return _function(source, given)
    target = _find(source)
    if inspect.isclass(target) or (_is_plain(target) and not _required(target)):
        try:
            target = target()
        except Exception as error:  # whatever somebody's code raises
            raise UserError(
                f"{source}() failed: {type(error).__name__}: "
                f"{functions.brief(error)}; it must build the network without arguments"
            ) from error
    opened = _open(target, given, source)
    return dataclasses.replace(opened, name=source)


def _open(target: Any, given: Given, source: str) -> Opened:
    """Opens what was built, whichever framework's it is."""
    from bdjax.networks import FORMATS

    if isinstance(target, str | os.PathLike):
        raise UserError(f"{source} gave {str(target)!r}, no network; open that instead")
    for name in FORMATS:
        form = importlib.import_module(f"bdjax.networks.{name}")
        if form.recognises(target):
            return form.open(target, given)
    raise UserError(
        f"{source} is {type(target).__name__}, no network; it must be or give a "
        "module, (module, variables) or a function"
    )


def _find(spec: str) -> Any:
    """What ``package.module:name`` names; the working directory is on the path."""
    module, _, name = spec.partition(":")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        where = "" if error.name == module else f" (it imports {error.name})"
        raise UserError(
            f"{spec}: there is no module {error.name!r}{where}; run where it lies, or "
            "install it"
        ) from error
    except Exception as error:  # whatever somebody's module does
        raise UserError(
            f"{spec}: importing {module} failed: {type(error).__name__}: "
            f"{functions.brief(error)}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{spec}: {module} has no {part!r}; check the name")
        found = getattr(found, part)
    return found


def _is_plain(target: Any) -> bool:
    """A function, and no object of a framework that happens to be callable."""
    return inspect.isroutine(target) or type(target).__name__ in (
        "partial",
        "PjitFunction",
        "jit",
    )


def _required(function: Callable[..., Any]) -> int:
    """How many arguments it must be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in place for p in parameters)


def _function(source: Any, given: Given) -> Opened:
    """A function of ``x``, or of variables and ``x``."""
    function, variables = source if _is_pair(source) else (source, given.variables)
    name = getattr(function, "__qualname__", type(function).__name__)
    if given.weights is not None and variables is None:
        variables = weights.nested(weights.read(given.weights))
    takes = _required(function)
    if variables is None and takes > 1:
        raise UserError(
            f"{name} takes {takes} arguments; give a function of x, or variables for "
            "one of (variables, x)"
        )
    arrays = None
    if variables is not None:
        arrays = weights.named(variables)
    else:
        variables, one = {}, function

        def function(_: Mapping[str, Any], x: Any) -> Any:
            return one(x)

    opened = functions.jax_function(
        name,
        function,
        variables,
        kind="JAX function",
        shapes=given.shapes,
        weights=arrays,
    )
    if opened.apply is None:
        return dataclasses.replace(opened, kind="Python function")
    return opened
