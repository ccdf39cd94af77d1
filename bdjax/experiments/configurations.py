"""Named configurations: which there are, and how one, or a user's file, is read."""

import ast
import functools
import importlib.util
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from bdjax import checks
from bdjax.experiments.config import Experiment
from bdjax.types import UserError

T = TypeVar("T")


def folder() -> Path:
    """Where they lie: in the package once installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def listed() -> dict[str, str]:
    """By name, the first line of what each says of itself, and its arguments."""
    found = {}
    for path in sorted(folder().glob("[!_]*_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        said = (ast.get_docstring(tree) or "").partition("\n")[0]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        arguments = ", ".join(
            keyword.arg or "..."
            for call in calls
            if ast.unparse(call.func) == "presets.apply"
            for keyword in call.keywords
        )
        found[path.stem] = f"{said} [:{arguments}]" if arguments else said
    return found


def load(chosen: str) -> Experiment:
    """The experiment that ``NAME[:ARGUMENTS]`` or ``FILE.py[:ARGUMENTS]`` means.

    Args:
      chosen: such as ``"mntd_mnist5k"``, ``"mntd_tabular:adult,smoke"``; a file has a
        function ``get_config(arguments) -> Experiment``.

    Raises:
      UserError: there is none, its file fails, or it knows no such argument.
    """
    name, _, arguments = chosen.partition(":")
    path = _path(name)
    read = module(name)
    if not hasattr(read, "get_config"):
        raise UserError(f"{path} has no get_config(), so it is no configuration")
    made = _ran(path, lambda: read.get_config(arguments))
    if not isinstance(made, Experiment):
        raise UserError(
            f"get_config() in {path} gives a {type(made).__name__}; it must be a "
            "bdjax.experiments.config.Experiment"
        )
    return made


def _path(name: str) -> Path:
    path = folder() / f"{name}.py"
    if name.isidentifier() and path.is_file():
        return path
    if (own := Path(name)).is_file():
        return own
    if own.suffix == ".py":
        raise UserError(f"no such file: {name}; check the path")
    known = checks.there_are(listed(), name)
    raise UserError(f"no configuration {name!r}; {known}, or give a Python file")


def _ran(path: Path, work: Callable[[], T]) -> T:
    """What it gives; a mistake in a user's file is told by its line."""
    try:
        return work()
    except UserError:
        raise
    except Exception as error:  # whatever a user's file may do
        frames = traceback.extract_tb(error.__traceback__)
        line = [f.lineno for f in frames if f.filename == str(path)][-1:]
        line = [error.lineno] if isinstance(error, SyntaxError) else line
        said = " ".join(f"{type(error).__name__}: {error}".split())
        where = ":".join(map(str, [path, *line]))
        raise UserError(f"{where} fails with {said}") from error


def module(name: str) -> ModuleType:
    """A configuration's module, or a file's.

    Raises:
      UserError: there is none, or it fails.
    """
    path = _path(name)
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file, which a configuration must be")
    made = importlib.util.module_from_spec(spec)
    _ran(path, functools.partial(spec.loader.exec_module, made))
    return made
