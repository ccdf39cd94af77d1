"""Named configurations: which there are, and how one, or a user's file, is read."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

from bdjax.experiments.config import Experiment
from bdjax.types import UserError


def folder() -> Path:
    """Where they lie: in the package once installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def listed() -> dict[str, str]:
    """By name, the first line of what each says of itself."""
    found = {}
    for path in sorted(folder().glob("[!_]*_*.py")):
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = said.partition("\n")[0]
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
    made = read.get_config(arguments)
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
    raise UserError(
        f"no configuration {name!r}; there are {list(listed())}, or give a Python file"
    )


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
    try:
        spec.loader.exec_module(made)
    except Exception as error:  # whatever a user's file may do
        raise UserError(f"{path} fails with {type(error).__name__}: {error}") from error
    return made
