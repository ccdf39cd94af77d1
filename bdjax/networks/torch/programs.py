"""Programs of ``torch.export``: a graph of operators that can be read."""

import re
import threading
from pathlib import Path
from typing import Any

from bdjax import checks
from bdjax.networks.base import Features, Opened, no_features
from bdjax.networks.torch.callback import Bridge, Run
from bdjax.networks.torch.modules import SOFTMAX, floats
from bdjax.networks.torch.screening import screen
from bdjax.types import UserError

# Operators that leave numbers as they are, in inference mode.
_PASSING = {
    *("view", "reshape", "flatten", "squeeze", "unsqueeze", "clone", "contiguous"),
    *("alias", "_to_copy", "to", "detach", "dropout", "_unsafe_view"),
}
_SOFTMAX = {"softmax", "_softmax", "log_softmax", "_log_softmax"}
# The argument of a dense layer that follows from the inputs.
_DENSE = {"linear": 0, "addmm": 1, "mm": 0, "matmul": 0, "conv2d": 0, "convolution": 0}
_POOLING = {"adaptive_avg_pool2d", "mean"}
# The argument that says whether it trains.
_TRAINING = {
    **{"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2},
    **{"feature_alpha_dropout": 2},
}
_ONLY_TRAINING = {
    *("native_dropout", "_native_batch_norm_legit"),
    "_native_batch_norm_legit_functional",
}


def load(path: Path) -> Opened:
    """Opens a .pt2 file.

    Raises:
      UserError: it is damaged, or holds what would run by being read.
    """
    try:
        from torch.export.pt2_archive._package import load_pt2
    except ImportError as error:
        raise UserError(
            f"{path} needs PyTorch 2.8 or newer: pip install --upgrade torch"
        ) from error
    screen(path)
    try:
        with path.open("rb") as file:
            programs = load_pt2(file).exported_programs
    except Exception as error:  # what torch raises depends on what is damaged
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} cannot be read as a .pt2 file: {said}") from error
    if not programs:
        raise UserError(f"{path} holds no program; write it by torch.export.save")
    return opened(next(iter(programs.values())), path.name)


def opened(program: Any, name: str) -> Opened:
    """Opens an exported program.

    Raises:
      UserError: it takes other than one tensor, or gives no answers ``[N, C]``.
    """
    graph = Program(program)
    bridge = graph.bridge(graph.logits)
    shape = tuple(n if isinstance(n, int) else None for n in _shape(graph.x)[1:])
    classes = _shape(graph.logits)[1:2]
    convolves = any(_op(node) in {"conv2d", "convolution"} for node in graph.nodes)
    last = len(shape) == 3 and shape[0] not in {1, 3} and shape[2] in {1, 3}
    return Opened(
        name=name,
        kind="exported PyTorch program",
        ask=bridge.ask,
        apply=bridge.apply(),
        find_features=graph.find_features,
        layout="NHWC" if last else "NCHW" if convolves else None,
        shape=shape,
        num_classes=classes[0] if classes and isinstance(classes[0], int) else None,
        weights=floats(program.state_dict),
        sequential=True,
        notes=graph.notes,
    )


class Program:
    """The graph of an exported program, and functions cut out of it."""

    def __init__(self, program: Any):
        """Reads a ``torch.export.ExportedProgram``."""
        self.program = program
        self.lock = threading.Lock()
        self.notes: tuple[str, ...] = ()
        self.nodes = list(program.graph.nodes)
        signature = program.graph_signature
        inputs = [n for n in self.nodes if n.op == "placeholder"]
        kinds = [s.kind.name for s in signature.input_specs]
        users = [n for n, k in zip(inputs, kinds, strict=True) if k == "USER_INPUT"]
        if len(users) != 1:
            raise UserError(
                f"the program takes {len(users)} inputs; export a module that takes "
                "images alone"
            )
        self.x = users[0]
        held = {**program.state_dict, **program.constants}
        # In the order that the graph takes them; None is for the images.
        self.held = [
            None if k == "USER_INPUT" else held[s.target].detach()
            for s, k in zip(signature.input_specs, kinds, strict=True)
        ]
        self.logits = self._find_logits(signature.output_specs)
        self.dense = self._find_dense()
        self._note_training()
        self.bounds = self._find_bounds()

    def _find_logits(self, specs: list) -> Any:
        outputs = self.nodes[-1].args[0]
        ours = [
            n
            for n, s in zip(outputs, specs, strict=True)
            if s.kind.name == "USER_OUTPUT" and "val" in getattr(n, "meta", {})
        ]
        if not ours:
            raise UserError("the program returns no tensor; a classifier's are [N, C]")
        out = next((n for n in ours if len(_shape(n)) == 2), ours[0])
        if len(_shape(out)) > 2 and set(_shape(out)[2:]) != {1}:
            raise UserError(
                f"the program answers by shape {tuple(_shape(out))}; a classifier's "
                "answers are [N, C]"
            )
        if len(ours) > 1:
            self.notes += (f"of its {len(ours)} outputs, {out.name} is its answers",)
        last = _back(out)
        if _op(last) in _SOFTMAX:
            self.notes += (SOFTMAX,)
            return last.args[0]
        return out

    def _find_dense(self) -> Any:
        node = _back(self.logits)
        if _op(node) == "add":  # a bias, which does not follow from the inputs
            sides = [_back(a) for a in node.args if hasattr(a, "op")]
            held = [s for s in sides if s.op == "placeholder" and s is not self.x]
            layers = [s for s in sides if _op(s) in _DENSE]
            if len(held) + len(layers) == len(sides):
                node = layers[0] if len(layers) == 1 else node
        if _op(node) in _POOLING and set(_shape(node)[2:]) <= {1}:
            # A 1x1 convolution and a mean over space can change places.
            inner = _back(node.args[0])
            node = inner if "conv" in _op(inner) else node
        if "conv" in _op(node) and set(_shape(node.args[1])[2:]) != {1}:
            return None
        return node if _op(node) in _DENSE else None

    def _note_training(self) -> None:
        def trains(node: Any) -> bool:
            at = _TRAINING.get(_op(node), 99)
            return at < len(node.args) and node.args[at] is True

        if trained := {n for n in self.nodes if trains(n)}:
            self.notes += (
                "it was exported in training mode; its dropout and batch "
                "normalisation are put into inference mode",
            )
        self.trained = trained
        for node in self.nodes:
            if _op(node) in _ONLY_TRAINING:
                raise UserError(
                    f"the program was exported in training mode ({node.name}); export "
                    "model.eval()"
                )

    def bridge(self, node: Any, *, mean: bool = False) -> Bridge:
        """A node as a function of the images; ``mean`` is over any space."""
        run = self._function(node, mean=mean)
        dtype = self.x.meta["val"].dtype
        return Bridge(run, dtype, self._device(), self.bounds, self.lock)

    def _device(self) -> Any:
        import torch

        own = [a for a in self.held if a is not None and a.is_floating_point()]
        return own[0].device if own else torch.device("cpu")

    def _function(self, node: Any, *, mean: bool = False) -> Run:
        import torch

        graph = torch.fx.Graph()
        copies: dict[Any, Any] = {}
        graph.graph_copy(self.program.graph, copies)
        for trained in self.trained:
            args = list(copies[trained].args)
            args[_TRAINING[_op(trained)]] = False
            copies[trained].args = tuple(args)
        graph.output(copies[node])
        graph.eliminate_dead_code()
        module = torch.fx.GraphModule(self.program.graph_module, graph)

        def run(rows: Any) -> Any:
            out = module(*(rows if a is None else a for a in self.held))
            if mean and out.ndim == 4:
                return out.mean((2, 3))
            return out.flatten(1) if out.ndim > 2 else out

        return run

    def _find_bounds(self) -> tuple[int, int]:
        n = _shape(self.x)[0]
        if isinstance(n, int):
            if self._takes_any(n):
                return 1, 2**31
            self.notes += (
                f"it takes just {n} inputs at a time, which is slow; export it with "
                "dynamic_shapes=({0: torch.export.Dim.AUTO},)",
            )
            return n, n
        found = self.program.range_constraints.get(n.node.expr)
        if found is None:
            return 1, 2**31
        # Infinite bounds are objects of sympy's.
        return int(found.lower), int(min(found.upper, 2**31))

    def _takes_any(self, n: int) -> bool:
        """Whether a batch that an export fixed is only that of its example.

        Most graphs do not depend on it, and asked one by one they are slow.
        """
        import torch

        shape, run = _shape(self.x)[1:], self._function(self.logits)
        safe = not any(map(_is_unchecked, self.nodes))
        if not safe or not all(isinstance(size, int) for size in shape):
            return False
        x = torch.rand((2 * n + 1, *shape), device=self._device())
        x = x.to(self.x.meta["val"].dtype)
        try:
            with torch.inference_mode():
                whole, parts = run(x), [run(x[:n]), run(x[n : 2 * n])]
                near = torch.allclose(whole[:-1], torch.cat(parts), 1e-4, 1e-4)
        except Exception:  # as its operators have it
            return False
        return near and len(whole) == len(x)

    def find_features(self, shape: tuple[int, ...], layer: str | None) -> Features:
        """See ``Opened.find_features``; layers go by node or by module."""
        del shape
        if layer is None and self.dense is None:
            names = [n.name for n in self.nodes if n.op == "call_function"]
            return no_features(
                f"no dense layer gives its answers; name one of {', '.join(names[-6:])}"
            )
        named = {n.name: n for n in self.nodes if n.op == "call_function"}
        named |= {_module(n): n for n in named.values() if _module(n)}
        node = self.dense
        if layer is not None:
            checks.one_of(named, layer=layer)
            node = named[layer]
        name = layer or _module(node) or node.name
        if node is not self.dense:
            return Features(self.bridge(node).apply(), f"{name} (output)")
        read = node.args[_DENSE[_op(node)]]
        return Features(self.bridge(read, mean=True).apply(), f"{name} (input)")


def _op(node: Any) -> str:
    """Name of an operator without its overload, such as ``"linear"``."""
    return str(node.target).split(".")[1] if str(node.target).count(".") else ""


def _is_unchecked(node: Any) -> bool:
    """Whether an operator may crash the process on shapes that do not fit together."""
    if node.op != "call_function":
        return False
    name = str(node.target)
    known = name.startswith(("aten.", "<built-in function"))
    return not known or bool(re.search(r"lstm|gru|rnn|mkldnn|native_multi_head", name))


def _shape(node: Any) -> tuple:
    value = node.meta["val"]
    return tuple(value.shape) if hasattr(value, "shape") else ()


def _module(node: Any) -> str:
    """Path of the module that a node came from; "" for the whole network."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return stack[-1][0] if stack else ""


def _back(node: Any) -> Any:
    """The node that gave a node's numbers, seen through what leaves them alone."""
    while _op(node) in _PASSING:
        node = node.args[0]
    return node
