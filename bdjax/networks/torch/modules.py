"""``nn.Module`` as it is in Python, and TorchScript from a file."""

import copy
import functools
import os
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import checks
from bdjax.networks.base import Features, Opened, no_features
from bdjax.networks.torch.answers import pick
from bdjax.networks.torch.callback import Bridge, in_one_line, to_numpy
from bdjax.networks.torch.recording import Call, last_dense, last_softmax, recording
from bdjax.types import UserError

_ALL = (1, 2**31)
# What touches files; and namespaces as values, by which anything goes by other names.
_FILES = re.compile(
    rb"\b(?:torch|ops\.\w+)\.(?:save|load|from_file|read_file|write_file)\b"
    rb"|\b(?:torch|ops(?:\.\w+)?)\b(?!\.\w| [A-Za-z])"  # of a sentence
)
SOFTMAX = "its last softmax is left out: answers are what it reads"


def opened(module: Any, name: str) -> Opened:
    """Opens a module; it stays as it is, and what is asked shares its parameters."""
    # What torch.compile and DataParallel put around it.
    module = getattr(module, "_orig_mod", module)
    if type(module).__name__.endswith("DataParallel"):
        module = module.module
    network = Network(inference_copy(module))
    return _opened(network, name, "PyTorch module", network.find_features)


def load_script(path: Path) -> Opened:
    """Opens a TorchScript file.

    Raises:
      UserError: it is damaged, or its code reads or writes files.
    """
    import torch

    try:
        # The very reader that is used afterwards: zip files can be read in two ways.
        archive = torch._C.PyTorchFileReader(os.fspath(path))
        names = [name for name in archive.get_all_records() if name.endswith(".py")]
        code = b"\n".join(map(archive.get_record, names))
    except RuntimeError as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be read as TorchScript: {said}") from error
    if found := _FILES.search(code):
        raise UserError(
            f"{path} calls {found[0].decode()}, and a network that may touch files is "
            "not run; give one that only computes"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript itself is deprecated
            module = torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be read as TorchScript: {said}") from error

    def find(shape: tuple[int, ...], layer: str | None) -> Features:
        return no_features(
            "the parts of TorchScript cannot be looked into; export the network by "
            "torch.export as .pt2"
        )

    return _opened(Network(module), path.name, "TorchScript", find)


def _opened(network: "Network", name: str, kind: str, find: Callable) -> Opened:
    bridge = network.bridge(network.answers)
    return Opened(
        name=name,
        kind=kind,
        ask=bridge.ask,
        apply=bridge.apply(),
        find_features=find,
        layout="NCHW" if network.has_convolutions() else None,
        weights=floats(network.module.state_dict()),
        sequential=True,
    )


def floats(state: dict) -> dict[str, np.ndarray]:
    """The floating tensors of a state dict."""
    return {n: to_numpy(a) for n, a in state.items() if a.is_floating_point()}


class Network:
    """A module in inference mode and what can be had of it."""

    def __init__(self, module: Any):
        """Takes a module that nobody else will change."""
        self.module = module
        self.lock = threading.Lock()

    def has_convolutions(self) -> bool:
        """Whether it takes images channels first, as torch's layers do."""
        parts = self.module.modules()
        names = [getattr(p, "original_name", type(p).__name__) for p in parts]
        return any(name.endswith("Conv2d") for name in names)

    def bridge(self, run: Callable) -> Bridge:
        """A function of its parts for NumPy and JAX."""
        import torch

        own = [*self.module.parameters(), *self.module.buffers()]
        like = next((a for a in own if a.is_floating_point()), torch.zeros(()))
        return Bridge(run, like.dtype, like.device, _ALL, self.lock)

    def answers(self, rows: Any) -> Any:
        """Answers ``[N, C]``; what the last softmax reads, if they are one's."""
        with recording() as calls:
            return self._answers(rows, calls)[0]

    def _answers(self, rows: Any, calls: list[Call]) -> tuple[Any, bool]:
        out = pick(self.module(rows), len(rows))
        last = last_softmax(out, calls)
        return (last.read.reshape(out.shape), True) if last else (out, False)

    def find_features(self, shape: tuple[int, ...], layer: str | None) -> Features:
        """See ``Opened.find_features``; a named layer's output, or the last's input."""
        import torch

        parts = {n: p for n, p in self.module.named_modules() if n}
        if layer is not None:
            checks.one_of(parts, layer=layer)
        own = self.bridge(self.answers)
        rows = torch.rand((2, *shape), dtype=own.dtype, device=own.device)
        with (
            self.lock,
            torch.inference_mode(),
            in_one_line(rows.shape),
            recording() as calls,
        ):
            out, cut = self._answers(rows, calls)
            last = last_dense(out, calls)
        notes = (SOFTMAX,) if cut else ()
        if layer is None and last is None:
            names = [n for n, p in parts.items() if not [*p.children()]]
            return no_features(
                f"no dense layer gives its answers; name one of {', '.join(names[-6:])}"
            )._replace(notes=notes)
        name = self._name(last.weight) if last else ""
        if layer is None or layer == name:
            label = f"{name or 'the last dense layer'} (input)"
            return Features(self.bridge(self._read).apply(), label, notes=notes)
        run = functools.partial(self._gave, layer, parts[layer])
        return Features(self.bridge(run).apply(), f"{layer} (output)", notes=notes)

    def _name(self, weight: Any) -> str:
        """Path of the module that a weight is of; "" of one that is computed."""
        for name, own in self.module.named_parameters():
            if own is weight:
                return name.rpartition(".")[0]
        return ""

    def _read(self, rows: Any) -> Any:
        with recording() as calls:
            last = last_dense(self._answers(rows, calls)[0], calls)
        if last is None:
            raise UserError("the network's last dense layer depends on its inputs")
        return last.read.mean((2, 3)) if last.read.ndim == 4 else last.read.flatten(1)

    def _gave(self, name: str, part: Any, rows: Any) -> Any:
        outputs: list = []
        hook = part.register_forward_hook(lambda part, read, gave: outputs.append(gave))
        try:
            self.module(rows)
        finally:
            hook.remove()
        if not outputs:
            raise UserError(f"the network does not call its layer {name}")
        # An LSTM gives its state, too.
        out = outputs[-1]
        return (out[0] if isinstance(out, tuple) else out).flatten(1)


def inference_copy(module: Any) -> Any:
    """A module in inference mode that shares the parameters of one that stays as it is.

    Raises:
      UserError: it has layers without a shape yet, or is in training mode and cannot
        be copied.
    """
    from torch.nn.parameter import is_lazy

    own = list(module.parameters())
    if any(map(is_lazy, own)):
        raise UserError(
            f"{type(module).__name__} has layers that get their shape from the first "
            "inputs; call it once on some"
        )
    # Half precision is slow on a CPU, or missing there; copied, as it is converted.
    half = any(p.is_floating_point() and p.element_size() < 4 for p in own)
    shared = {} if half else {id(p): p for p in own}
    try:
        module = copy.deepcopy(module, shared).eval()
    except Exception as error:  # of whatever its author wrote
        if module.training or half:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"{type(module).__name__} is in training mode and cannot be copied "
                f"({said}); call model.float().eval() first"
            ) from error
    return module.float() if half else module
