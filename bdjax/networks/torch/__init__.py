"""Networks of PyTorch: modules, exported programs, TorchScript; never a pickle."""

import copy
import os
import zipfile
from pathlib import Path
from typing import Any

from bdjax.networks.base import Given, Opened
from bdjax.networks.torch.weights import load_weights
from bdjax.types import UserError

_SUFFIXES = {".pt2", ".pt", ".pth", ".ts", ".ckpt", ".pkl", ".pickle"}


def recognises(source: Any) -> bool:
    """Whether it is a module, an exported program, or a file as PyTorch writes it."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_file():
            return path.suffix in _SUFFIXES or _content(path) != ""
        return path.suffix in _SUFFIXES
    names = {(c.__module__.partition(".")[0], c.__name__) for c in type(source).__mro__}
    return bool(names & {("torch", "Module"), ("torch", "ExportedProgram")})


def open(source: Any, given: Given) -> Opened:
    """Opens one; see :func:`bdjax.networks.open_network`.

    Raises:
      UserError: it cannot be read, holds pickled objects, or PyTorch is missing.
    """
    try:
        from bdjax.networks.torch import modules, programs
    except ImportError as error:
        raise UserError(
            "a network of PyTorch needs its package: pip install torch"
        ) from error
    if not isinstance(source, str | os.PathLike):
        if hasattr(source, "graph_signature"):
            return programs.opened(source, "ExportedProgram")
        if given.weights:
            source = copy.deepcopy(source)
            load_weights(source, given.weights)
        return modules.opened(source, type(source).__name__)
    path = Path(source)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}; give a .pt2 or TorchScript file")
    content = _content(path)
    if content == "program":
        return programs.load(path)
    if content == "script":
        return modules.load_script(path)
    other = "{} is no file of torch.export or TorchScript, as its name says; save it so"
    raise UserError(_REFUSALS.get(content, other).format(path))


def _content(path: Path) -> str:
    """What a file holds, by looking and not by loading; "" for something else."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            # Protocol 2 and later; PyTorch wrote bare pickles until 1.6.
            return (
                "pickle" if file.read(2) in {b"\x80%c" % n for n in range(2, 6)} else ""
            )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = {name.partition("/")[2] for name in names}
    if "serialized_exported_program.json" in names:
        return "old program"
    if "archive_format" in inside:
        return "program"
    if "constants.pkl" in inside and any(n.startswith("code/") for n in inside):
        return "script"
    return "pickle" if "data.pkl" in inside else ""


_REFUSALS = {
    "pickle": (
        "{} is a pickle, which may run anything when it is read; save the network by "
        'torch.export.save(torch.export.export(model.eval(), (x,)), "m.pt2"), or its '
        "weights by safetensors.torch.save_file(model.state_dict(), "
        '"w.safetensors") for package.module:build with --weights'
    ),
    "old program": (
        "{} was exported by PyTorch before 2.8, whose format holds pickles; export it "
        'again: torch.export.save(torch.export.export(model.eval(), (x,)), "m.pt2")'
    ),
}

__all__ = ["load_weights", "open", "recognises"]
