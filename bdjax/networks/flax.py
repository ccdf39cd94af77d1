"""Flax modules, Linen's with their variables, and NNX's."""

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import jax

from bdjax.networks import functions, weights
from bdjax.networks.base import Features, Given, Opened
from bdjax.types import PyTree, UserError

# Arguments and fields that say whether a module is trained, and what they say if not.
_INFERENCE = {
    **dict.fromkeys(("train", "training", "is_training"), False),
    **dict.fromkeys(("deterministic", "use_running_average", "inference"), True),
}


def _is(source: Any, module: str) -> bool:
    """Whether it is a module of Linen or NNX, which somebody has then imported."""
    room = sys.modules.get(module)
    return room is not None and isinstance(source, room.Module)


def _is_pair(source: Any) -> bool:
    """A Linen module with its variables."""
    return (
        isinstance(source, tuple)
        and len(source) == 2
        and _is(source[0], "flax.linen")
        and isinstance(source[1], Mapping)
    )


def recognises(source: Any) -> bool:
    """A Linen module, one with its variables, or an NNX module."""
    linen = _is(source, "flax.linen") or _is_pair(source)
    return linen or _is(source, "flax.nnx")


def open(source: Any, given: Given) -> Opened:
    """Opens it; see :func:`bdjax.networks.open_network`."""
    return _nnx(source, given) if _is(source, "flax.nnx") else _linen(source, given)


def _options(call: Any) -> dict[str, bool]:
    """Arguments that put a call into inference mode."""
    taken = inspect.signature(call).parameters
    return {name: value for name, value in _INFERENCE.items() if name in taken}


def _linen(source: Any, given: Given) -> Opened:
    module, variables = source if _is_pair(source) else (source, given.variables)
    name = type(module).__name__
    if module.scope is not None:  # bound: it knows its variables
        module, variables = module.unbind()
    if given.weights is not None:
        arrays = weights.read(given.weights)
        if variables is not None:
            variables = weights.fitted(arrays, variables, given.weights)
        else:
            variables = weights.nested(arrays)
            variables = variables if "params" in variables else {"params": variables}
    if variables is None:
        raise UserError(
            f"{name} is a Linen module without its variables; give variables= (or "
            "(module, variables), or a .safetensors file as weights)"
        )
    if "params" not in variables:
        raise UserError(
            f"variables of {name} have {sorted(variables)}, no 'params'; give all "
            "collections, {'params': ..., 'batch_stats': ...}"
        )
    # What modules sowed when they were initialised is no part of them.
    variables = {k: v for k, v in variables.items() if k != "intermediates"}
    fields = {k: v for k, v in _INFERENCE.items() if hasattr(module, k)}
    module = module.clone(**{k: v for k, v in fields.items() if _is_field(module, k)})
    options = _options(type(module).__call__)

    def run(variables: PyTree, x: jax.Array) -> Any:
        return module.apply(variables, x, **options)

    def by_name(shape: tuple[int, ...], layer: str) -> Features:
        def record(variables: PyTree, x: jax.Array) -> dict[str, Any]:
            _, state = module.apply(
                variables, x, capture_intermediates=True, mutable=True, **options
            )
            found = weights.by_path(state.get("intermediates", {}))
            # A call's first output; sown values are kept in a tuple, too.
            found = {k.removesuffix("/0"): v for k, v in found.items()}
            found = {k.removesuffix("/__call__"): v for k, v in found.items()}
            return {k: v for k, v in found.items() if not k.startswith("__call__")}

        return functions.layer_by_name(record, variables, shape, layer)

    return functions.jax_function(
        name,
        run,
        variables,
        kind="Flax Linen module",
        shapes=given.shapes,
        by_name=by_name,
        layout="NHWC" if _has_images(variables) else None,
        weights=weights.named(variables),
    )


def _is_field(module: Any, name: str) -> bool:
    """Whether a Linen module has a field of that name that is a switch."""
    return name in module.__dataclass_fields__ and isinstance(
        getattr(module, name), bool | None
    )


def _has_images(variables: PyTree) -> bool:
    """Whether some kernel is one of a 2-D convolution, which Flax has channels last."""
    return any(leaf.ndim == 4 for leaf in jax.tree.leaves(variables))


def _nnx(source: Any, given: Given) -> Opened:
    from flax import nnx

    model = nnx.clone(source)
    model.eval()
    name = type(model).__name__
    options = _options(type(model).__call__)
    split: Any = nnx.split(model, nnx.Any(nnx.Param, nnx.BatchStat), ...)
    graph, state, rest = split
    variables = nnx.to_pure_dict(state)
    if given.weights is not None:
        arrays = weights.read(given.weights)
        variables = weights.fitted(arrays, variables, given.weights)

    def merged(variables: PyTree) -> Any:
        # Copies: a call may count its steps, which those of another trace refuse.
        filled, others = jax.tree.map(lambda leaf: leaf, (state, rest))
        nnx.replace_by_pure_dict(filled, variables)
        return nnx.merge(graph, filled, others)

    def run(variables: PyTree, x: jax.Array) -> Any:
        return merged(variables)(x, **options)

    def by_name(shape: tuple[int, ...], layer: str) -> Features:
        def record(variables: PyTree, x: jax.Array) -> dict[str, Any]:
            whole, found = merged(variables), dict[str, Any]()
            for path, module in nnx.iter_modules(whole):
                if path:
                    _record_into(found, "/".join(map(str, path)), module)
            whole(x, **options)
            return found

        return functions.layer_by_name(record, variables, shape, layer)

    return functions.jax_function(
        name,
        run,
        variables,
        kind="Flax NNX module",
        shapes=given.shapes,
        by_name=by_name,
        layout="NHWC" if _has_images(variables) else None,
        weights=weights.named(variables),
    )


def _record_into(found: dict[str, Any], name: str, module: Any) -> None:
    """Makes a module keep its last output in ``found``."""
    kind: Any = type(module)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        found[name] = kind.__call__(self, *args, **kwargs)
        return found[name]

    if callable(module):
        module.__class__ = type(kind)(kind.__name__, (kind,), {"__call__": call})
