"""Functions of JAX and NumPy as networks: what Flax, Keras and plain code share."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.networks import penultimate
from bdjax.networks.base import Apply, Ask, Features, Layout, Opened, no_features
from bdjax.networks.penultimate import brief
from bdjax.networks.quick import quick
from bdjax.types import PyTree, UserError

BLOCK = 256  # inputs that are asked at once

USUAL = ((32, 32, 3), (28, 28, 1), (224, 224, 3), (64, 64, 3), (28, 28), (784,))
"""Shapes of an input that a function is traced with where none is known."""

_NUMPY = (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError)

_UNTRACED = "JAX cannot trace it, so it has no gradients"

Find = Callable[[tuple[int, ...], str], Features]
"""Features by the name of a layer, for inputs of a shape."""


def answer_of(out: Any, count: int, name: str) -> Any:
    """The answer among what a function gives: ``[N, C]``, or labels ``[N]``.

    Of several arrays, the first one of that shape; a number an input is one logit.

    Raises:
      UserError: there is none.
    """
    leaves = [a for a in jax.tree.leaves(out) if hasattr(a, "shape")]
    fits = [a for a in leaves if a.ndim == 2 and a.shape[0] == count]
    fits += [a for a in leaves if a.shape == (count,)]
    if not fits:
        shapes = ", ".join(str(tuple(a.shape)) for a in leaves) or type(out).__name__
        raise UserError(
            f"{name} answered {shapes} to {count} inputs; it must give [N, C], a row "
            "of numbers an input"
        )
    first = fits[0]
    if first.ndim == 1 and not is_whole(first):
        return first[:, None]
    return first


def is_whole(answers: Any) -> bool:
    """Whether they are labels by their type."""
    return bool(np.issubdtype(answers.dtype, np.integer))


def in_blocks(ask: Ask, x: np.ndarray, *, pad: bool) -> np.ndarray:
    """Asks some at a time; padded ones come in few sizes, to compile few programs."""
    parts = []
    for i in range(0, len(x), BLOCK):
        part = x[i : i + BLOCK]
        more = (1 << (len(part) - 1).bit_length()) - len(part) if pad else 0
        filled = np.concatenate([part, np.repeat(part[-1:], more, 0)]) if more else part
        parts.append(np.asarray(ask(filled))[: len(part)])
    return np.concatenate(parts)


def numpy_function(name: str, ask: Ask, *, why: str, kind: str) -> Opened:
    """What answers, and no more; ``why`` it cannot be differentiated."""

    def answers(x: np.ndarray) -> np.ndarray:
        try:
            out = ask(x)
        except UserError:
            raise
        except Exception as error:  # whatever somebody's code makes of it
            raise UserError(
                f"{name} failed on inputs of shape {x.shape}: {brief(error)}"
            ) from error
        found = out if hasattr(out, "shape") else np.asarray(out)
        return np.asarray(answer_of(found, len(x), name))

    return Opened(
        name=name,
        kind=kind,
        ask=lambda x: in_blocks(answers, x, pad=False),
        find_features=lambda shape, layer: no_features(why),
        notes=(f"it only answers: {why}",),
    )


def jax_function(
    name: str,
    run: Apply,
    variables: PyTree,
    *,
    kind: str,
    shapes: Iterable[tuple[int, ...]] = (),
    by_name: Find | None = None,
    layout: Layout | None = None,
    shape: tuple[int | None, ...] | None = None,
    weights: dict[str, np.ndarray] | None = None,
    notes: tuple[str, ...] = (),
) -> Opened:
    """A network that JAX traces; if it does not, what only answers.

    Args:
      name: for people.
      run: ``run(variables, x)``, any tree of arrays with the answer in it.
      variables: what it is called with.
      kind: what people call it.
      shapes: of one input, that may be its own, the likeliest first.
      by_name: finds a layer by its name; None if layers have none.
      layout: as of :class:`Opened`, and so are the others.
      shape: likewise.
      weights: likewise.
      notes: likewise.
    """

    def answer(variables: PyTree, x: jax.Array) -> jax.Array:
        out = answer_of(run(variables, x), len(x), name)
        return out if is_whole(out) else out.astype(jnp.float32)

    known, out, why = _trace(answer, variables, [*shapes, *USUAL])
    if out is None:
        plain: Any = run
        return numpy_function(name, lambda x: plain(variables, x), why=why, kind=kind)
    if is_whole(out):
        ask = jax.jit(lambda x: answer(variables, x))
        why = "it answers labels"
        return numpy_function(name, lambda x: ask(jnp.asarray(x)), why=why, kind=kind)
    x = jax.ShapeDtypeStruct((2, *known), jnp.float32)
    if len(jax.tree.leaves(jax.eval_shape(run, variables, x))) > 1:
        notes += ("of the arrays that it gives, the first of shape [N, C] is taken",)
    apply: Apply = answer
    if penultimate.ends_in_softmax(answer, variables, known):
        apply = penultimate.without_softmax(answer)
        notes += ("its last softmax or sigmoid is left out",)
    compiled = jax.jit(apply)

    def ask_all(x: np.ndarray) -> np.ndarray:
        return in_blocks(
            lambda part: np.asarray(compiled(variables, part)), x, pad=True
        )

    def find(of_shape: tuple[int, ...], layer: str | None) -> Features:
        if layer is None:
            found = penultimate.find(apply, variables, of_shape)
        elif by_name is None:
            found = no_features(f"layers of a {kind} have no names")
        else:
            found = by_name(of_shape, layer)
        return found._replace(apply=found.apply and quick(found.apply))

    return Opened(
        name=name,
        kind=kind,
        ask=_told(ask_all, name),
        apply=quick(apply),
        variables=variables,
        find_features=find,
        layout=layout,
        shape=shape,
        num_classes=out.shape[1],
        weights=weights,
        notes=notes,
    )


Record = Callable[[PyTree, jax.Array], dict[str, Any]]
"""``record(variables, x)``: what layers give, by their names with ``/`` between."""


def layer_by_name(
    record: Record, variables: PyTree, shape: tuple[int, ...], layer: str
) -> Features:
    """What the layer ``layer`` gives, if there is one (``.`` for ``/`` will do)."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    try:
        found = jax.eval_shape(record, variables, x)
    except Exception as error:  # whatever a layer makes of a shape not its own
        return no_features(f"it does not read inputs of shape {shape}: {brief(error)}")
    names = {name.replace("/", "."): name for name in found}
    name = names.get(layer.replace("/", "."))
    if name is None:
        return no_features(
            f"no layer is called {layer!r}; there are {', '.join(found)}"
        )
    if not hasattr(found[name], "ndim") or found[name].shape[0] != 2:
        return no_features(f"layer {layer!r} does not give an array, a row an input")

    def features(variables: PyTree, x: jax.Array) -> jax.Array:
        return record(variables, x)[name].reshape(len(x), -1)

    return Features(features, name)


def _told(ask: Ask, name: str) -> Ask:
    """Errors of somebody's code as one line."""

    def told(x: np.ndarray) -> np.ndarray:
        try:
            return ask(x)
        except (TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{name} does not read inputs of shape {x.shape[1:]}: {brief(error)}"
            ) from error

    return told


def _trace(
    apply: Apply, variables: PyTree, shapes: Iterable[tuple[int, ...]]
) -> tuple[tuple[int, ...], Any, str]:
    """The first shape that it can be traced with, and what it gives; else why not."""
    tried: list[tuple[int, ...]] = []
    why = ""
    for shape in dict.fromkeys(shapes):
        x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
        try:
            return shape, jax.eval_shape(apply, variables, x), ""
        except _NUMPY:
            return (), None, _UNTRACED
        except Exception as error:  # whatever a layer makes of a shape not its own
            if "Tracer" in str(error):  # another library that was given one
                return (), None, _UNTRACED
            tried.append(shape)
            why = why or brief(error)
    return (
        (),
        None,
        f"JAX could trace it with no usual shape of inputs ({why} at {tried[0]}); say "
        "the shape of one input",
    )
