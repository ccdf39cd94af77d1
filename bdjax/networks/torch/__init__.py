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
        known = path.suffix in _SUFFIXES
        return path.is_file() and (known or _content(path) != "")
    names = {(c.__module__.partition(".")[0], c.__name__) for c in type(source).__mro__}
    return bool(names & {("torch", "Module"), ("torch", "ExportedProgram")})


def open(source: Any, given: Given) -> Opened:
    """Opens one; see :func:`bdjax.networks.open_network`.

    Raises:
      UserError: it cannot be read, holds pickled objects, or PyTorch is missing.
    """
    from bdjax.networks.torch import modules, programs

    if not isinstance(source, str | os.PathLike):
        if hasattr(source, "graph_signature"):
            given.check_alone("an exported program")
            return programs.opened(source, "ExportedProgram")
        if given.weights:
            source = copy.deepcopy(source)
            load_weights(source, given.weights)
        return modules.opened(source, type(source).__name__)
    path = Path(source)
    given.check_alone(path)
    content = _content(path)
    if content not in {"program", "script"}:
        other = (
            "{} is no file of torch.export or TorchScript, as its name says; save it so"
        )
        raise UserError(_REFUSALS.get(content, other).format(path))
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise UserError(f"{path} needs PyTorch: pip install torch") from error
    return (programs.load if content == "program" else modules.load_script)(path)


def _content(path: Path) -> str:
    """What a file holds, by looking and not by loading; "" for something else."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(9)
        # Of protocols 2 to 5; PyTorch wrote bare pickles until 1.6. The length of a
        # safetensors header may begin so, too.
        bare = start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")
        return "pickle" if bare and start[2:] != b"\0\0\0\0\0\0{" else ""
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
