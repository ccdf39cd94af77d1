"""``nn.Module`` as it is in Python, and TorchScript from a file."""

import contextlib
import copy
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bdjax import checks
from bdjax.networks.base import Features, Opened, no_features
from bdjax.networks.torch.answers import pick
from bdjax.networks.torch.callback import Bridge, in_one_line, to_numpy
from bdjax.types import UserError

_ALL = (1, 2**31)
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

    with zipfile.ZipFile(path) as archive:
        code = b"".join(
            archive.read(n) for n in archive.namelist() if n.endswith(".py")
        )
    if found := re.search(rb"\b(?:torch|aten|ops\.\w+)\.(save|load|from_file)\(", code):
        raise UserError(
            f"{path} calls torch.{found[1].decode()}, and a network that touches files "
            "is not run; give one that only computes"
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

    return _opened(Network(module, looks_into=False), path.name, "TorchScript", find)


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


class Call(NamedTuple):
    """What a part of a module read and gave."""

    name: str
    read: Any
    gave: Any


class Network:
    """A module in inference mode and what can be had of it."""

    def __init__(self, module: Any, *, looks_into: bool = True):
        """Takes a module that nobody else will change."""
        from torch import nn

        self.module = module
        self.lock = threading.Lock()
        # All parts' names are ``layer`` of :meth:`find_features`.
        self.parts = dict(module.named_modules()) if looks_into else {}
        self._softmaxes = self._of(lambda p: isinstance(p, nn.Softmax | nn.LogSoftmax))

    def _of(self, is_it: Callable[[Any], bool]) -> dict[str, Any]:
        return {n: p for n, p in self.parts.items() if is_it(p)}

    def has_convolutions(self) -> bool:
        """Whether it takes images channels first, as torch's layers do."""
        names = (
            getattr(m, "original_name", type(m).__name__) for m in self.module.modules()
        )
        return "Conv2d" in names

    def bridge(self, run: Callable) -> Bridge:
        """A function of its parts for NumPy and JAX."""
        import torch

        own = [*self.module.parameters(), *self.module.buffers()]
        like = next((a for a in own if a.is_floating_point()), torch.zeros(()))
        return Bridge(run, like.dtype, like.device, _ALL, self.lock)

    def answers(self, rows: Any) -> Any:
        """Answers ``[N, C]``; what the last softmax reads, if that is a module."""
        with _watching(self._softmaxes) as calls:
            return self._answers(rows, calls)[0]

    def _answers(self, rows: Any, calls: list[Call]) -> tuple[Any, bool]:
        out = pick(self.module(rows), len(rows))
        last = _that_gave(out, [c for c in calls if c.name in self._softmaxes])
        return (last.read.reshape(out.shape), True) if last else (out, False)

    def find_features(self, shape: tuple[int, ...], layer: str | None) -> Features:
        """See ``Opened.find_features``; a named layer's output, or the last's input."""
        import torch
        from torch import nn

        def is_dense(part: Any) -> bool:
            one = isinstance(part, nn.Conv2d) and set(part.kernel_size) == {1}
            return one or isinstance(part, nn.Linear)

        if layer is not None:
            checks.one_of([n for n in self.parts if n], layer=layer)
        own = self.bridge(self.answers)
        rows = torch.zeros((2, *shape), dtype=own.dtype, device=own.device)
        parts = self._of(is_dense) | self._softmaxes
        with (
            self.lock,
            torch.inference_mode(),
            in_one_line(rows.shape),
            _watching(parts) as calls,
        ):
            out, cut = self._answers(rows, calls)
            last = _that_gave(out, [c for c in calls if c.name not in self._softmaxes])
        notes = (SOFTMAX,) if cut else ()
        if layer is None and last is None:
            names = [n for n, p in self.parts.items() if n and not [*p.children()]]
            return no_features(
                f"no dense layer gives its answers; name one of {', '.join(names[-6:])}"
            )._replace(notes=notes)
        name = layer or (last.name if last else "")
        reads = last is not None and name == last.name

        def run(rows: Any) -> Any:
            with _watching({name: self.parts[name]}) as calls:
                self.module(rows)
            if not calls:
                raise UserError(f"the network does not call its layer {name}")
            tensor = calls[-1].read if reads else calls[-1].gave
            return tensor.flatten(1)

        side = "input" if reads else "output"
        return Features(self.bridge(run).apply(), f"{name} ({side})", notes=notes)


@contextlib.contextmanager
def _watching(parts: dict[str, Any]) -> Iterator[list[Call]]:
    """Notes what parts of a module read and give while it runs."""
    calls: list[Call] = []

    def keeper(name: str) -> Callable:
        def keep(part: Any, read: tuple, gave: Any) -> None:
            # An LSTM gives its state, too.
            calls.append(
                Call(name, *(t[0] if isinstance(t, tuple) else t for t in (read, gave)))
            )

        return keep

    with contextlib.ExitStack() as hooks:
        for name, part in parts.items():
            hooks.callback(part.register_forward_hook(keeper(name)).remove)
        yield calls


def _that_gave(out: Any, calls: list[Call]) -> Call | None:
    """The last call whose output is ``out``, or is but seen in another shape."""
    for call in reversed(calls):
        gave = call.gave
        if gave.data_ptr() == out.data_ptr() and gave.numel() == out.numel():
            return call
    return None


def inference_copy(module: Any) -> Any:
    """A module in inference mode that shares the parameters of one that stays as it is.

    Raises:
      UserError: it is in training mode and cannot be copied.
    """
    own = list(module.parameters())
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
