"""What dense layers and softmaxes of a running network read and gave.

Seen as functions, for ``torch.nn.functional`` is as common as modules are.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_SOFTMAX = {"softmax", "log_softmax"}


class Call(NamedTuple):
    """One call of a function of torch, of tensors but for its name."""

    function: str
    read: Any
    gave: Any
    weight: Any


@contextlib.contextmanager
def recording() -> Iterator[list[Call]]:
    """Lists calls of dense layers, 1x1 convolutions and softmaxes of answers."""
    calls: list[Call] = []
    with _mode()(calls):
        yield calls


@functools.cache
def _mode() -> Callable:
    from torch.overrides import TorchFunctionMode

    class Recording(TorchFunctionMode):
        def __init__(self, calls: list[Call]):
            super().__init__()
            self.calls = calls

        def __torch_function__(
            self, function: Any, types: Any, args: tuple = (), kwargs: Any = None
        ) -> Any:
            gave = function(*args, **(kwargs or {}))
            name = getattr(function, "__name__", "")
            # Attention has these, too, of more axes; those are not held on to.
            wanted = name in {*_SOFTMAX, "linear"} and getattr(gave, "ndim", 0) == 2
            if name == "conv2d" and len(args) > 1:
                wanted = set(args[1].shape[2:]) == {1}
            if wanted and args:
                weight = args[1] if len(args) > 1 else None
                self.calls.append(Call(name, args[0], gave, weight))
            return gave

    return Recording


def last_softmax(out: Any, calls: list[Call]) -> Call | None:
    """The softmax that gave a network's answers ``[N, C]``; None if none did."""
    return _find(out, [c for c in calls if c.function in _SOFTMAX])


def last_dense(out: Any, calls: list[Call]) -> Call | None:
    """The dense layer whose output is ``out``, or a 1x1 convolution's mean over space.

    That is the same layer, on the mean over space of what the convolution reads.
    """
    layers = [c for c in calls if c.function not in _SOFTMAX]
    for call in reversed(layers):
        if call.gave.ndim == 4 and call.gave.shape[:2] == out.shape:
            mean = call.gave.mean((2, 3))
            if (mean - out).abs().max() <= 1e-4 * out.abs().max():
                return call
    return _find(out, layers)


def _find(out: Any, calls: list[Call]) -> Call | None:
    """The last call whose output is ``out``, or is but seen in another shape."""
    for call in reversed(calls):
        gave = call.gave
        if gave.data_ptr() == out.data_ptr() and gave.numel() == out.numel():
            return call
    return None
