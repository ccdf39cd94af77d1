"""The penultimate layer of any JAX function, read off its program.

It is what the last product with weights reads: the last equation whose one operand
follows from ``x`` while the other does not, which everything that reaches the answer
goes through, and after which there is no more than a bias, pooling or a softmax. A
softmax or sigmoid at the very end is found likewise, so that it can be left out.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from bdjax.networks.base import Apply, Features, no_features
from bdjax.networks.weights import by_path
from bdjax.types import PyTree

_PRODUCTS = ("dot_general", "conv_general_dilated")
# What may follow the last product: a bias, scales, pooling, the parts of a softmax.
_AFTER = {
    *("add", "sub", "mul", "div", "neg", "integer_pow", "copy", "stop_gradient"),
    *("reshape", "transpose", "squeeze", "broadcast_in_dim", "convert_element_type"),
    *("reduce_sum", "reduce_max", "exp", "log", "log1p", "logistic", "slice", "pad"),
    *("concatenate", "optimization_barrier", "sharding_constraint"),
}
_SAME = ("convert_element_type", "reshape", "copy", "broadcast_in_dim", "squeeze")
_SPREAD = ("broadcast_in_dim", "reshape", "stop_gradient", "max")
# Programs in a program that are read as if they were written out.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr"}
CALLS |= dict.fromkeys(("closed_call", "core_call"), "call_jaxpr")


class _Program(NamedTuple):
    """A traced function, calls written out, without what the answer does not need."""

    closed: ClosedJaxpr
    eqns: list[JaxprEqn]
    out: Any

    def source(self, atom: Any, *through: str) -> JaxprEqn | None:
        """What an atom is computed by, before equations of those names."""
        eqn = next((e for e in self.eqns if atom in e.outvars), None)
        if eqn is None or eqn.primitive.name not in through:
            return eqn
        inputs = [v for v in eqn.invars if not isinstance(v, Literal)]
        return self.source(inputs[0], *through) if len(inputs) == 1 else None

    def up_to(self, var: Any, variables: PyTree, x: jax.Array) -> jax.Array:
        """Computes one of its values."""
        eqns = _needed(self.eqns, var)
        jaxpr = self.closed.jaxpr.replace(eqns=eqns, outvars=[var])
        run = jaxpr_as_fun(ClosedJaxpr(jaxpr, self.closed.consts))
        return run(*jax.tree.leaves((variables, x)))[0]


def _needed(eqns: list[JaxprEqn], out: Any) -> list[JaxprEqn]:
    """Those equations that an atom depends on, in their order."""
    wanted, kept = {id(out)}, []
    for eqn in reversed(eqns):
        if any(id(v) in wanted for v in eqn.outvars):
            wanted |= {id(v) for v in eqn.invars}
            kept.append(eqn)
    return kept[::-1]


def _written_out(
    eqns: Iterable[JaxprEqn], place: dict[Var, Any], scope: Any = None
) -> Iterator[JaxprEqn]:
    """Equations with calls written out; ``place`` says what stands for a variable."""

    def of(atom: Any) -> Any:
        return atom if isinstance(atom, Literal) else place.get(atom, atom)

    for eqn in eqns:
        info = eqn.source_info
        if scope is not None:
            info = info.replace(name_stack=scope + info.name_stack)
        inputs = [of(v) for v in eqn.invars]
        inner = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
        if inner is None:
            outs = [Var(v.aval) for v in eqn.outvars]
            place.update(zip(eqn.outvars, outs, strict=True))
            yield eqn.replace(invars=inputs, outvars=outs, source_info=info)
            continue
        body = getattr(inner, "jaxpr", inner)
        within = dict(zip(body.invars, inputs, strict=True))
        consts = zip(body.constvars, getattr(inner, "consts", ()), strict=True)
        within |= {v: Literal(value, v.aval) for v, value in consts}
        yield from _written_out(body.eqns, within, info.name_stack)
        for var, result in zip(eqn.outvars, body.outvars, strict=True):
            place[var] = result if isinstance(result, Literal) else within[result]


def _program(apply: Apply, variables: PyTree, x: Any) -> _Program:
    """The program of ``apply`` for inputs such as ``x`` (its shape and dtype)."""
    spec = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), (variables, x)
    )
    closed = jax.make_jaxpr(apply)(*spec)
    place: dict[Var, Any] = {}
    eqns = list(_written_out(closed.jaxpr.eqns, place))
    out = closed.jaxpr.outvars[0]
    out = out if isinstance(out, Literal) else place.get(out, out)
    return _Program(closed, _needed(eqns, out), out)


def _before_softmax(program: _Program) -> Any:
    """What a softmax or sigmoid at the end reads; None if there is none."""
    last = program.source(program.out, *_SAME)
    if last is None:
        return None
    answer: Any = last.outvars[0].aval
    if answer.size != program.out.aval.size:
        return None
    if last.primitive.name == "logistic":
        return last.invars[0]
    if last.primitive.name != "div":
        return None
    exp, total = (program.source(v, *_SPREAD) for v in last.invars)
    if exp is None or total is None or exp.primitive.name != "exp":
        return None
    if total.primitive.name != "reduce_sum" or total.invars[0] not in exp.outvars:
        return None
    shifted = program.source(exp.invars[0])
    if shifted is not None and shifted.primitive.name == "sub":
        most = program.source(shifted.invars[1], *_SPREAD)
        if most is not None and most.primitive.name == "reduce_max":
            return shifted.invars[0]
    return exp.invars[0]


def ends_in_softmax(apply: Apply, variables: PyTree, shape: tuple[int, ...]) -> bool:
    """Whether the last that a function does is a softmax or sigmoid."""
    x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return _before_softmax(_program(apply, variables, x)) is not None


def without_softmax(apply: Apply) -> Apply:
    """The same function up to its last softmax or sigmoid, if it ends in one."""

    def logits(variables: PyTree, x: jax.Array) -> jax.Array:
        program = _program(apply, variables, x)
        found = _before_softmax(program)
        var = program.out if found is None else found
        return program.up_to(var, variables, x).reshape(program.out.aval.shape)

    return logits


class _Last(NamedTuple):
    """The last product: its operand, and which axes of it are features."""

    operand: Any
    axes: tuple[int, ...]
    free: tuple[int, ...]  # averaged over, as the answer averages over them
    weight: Any
    scope: str


def _product(eqn: JaxprEqn) -> JaxprEqn | None:
    """The product that an equation is, or with derivatives of its own; else None."""
    if eqn.primitive.name in _PRODUCTS:
        return eqn
    inner = eqn.params.get("call_jaxpr")
    body = getattr(inner, "jaxpr", inner)
    if body is None or len(body.eqns) != 1 or body.constvars:
        return None
    if body.eqns[0].primitive.name not in _PRODUCTS:
        return None
    outer = dict(zip(body.invars, eqn.invars, strict=True))
    inputs = [outer[v] for v in body.eqns[0].invars]
    return body.eqns[0].replace(invars=inputs, outvars=eqn.outvars)


def _dominating(program: _Program) -> tuple[JaxprEqn, set[str]] | str:
    """The last product that all of the answer goes through, and what comes after it.

    Else why there is none.
    """
    follows = {id(program.closed.jaxpr.invars[-1])}
    last_use: dict[int, int] = {id(program.out): len(program.eqns)}
    for i, eqn in enumerate(program.eqns):
        last_use |= {id(v): max(i, last_use.get(id(v), 0)) for v in eqn.invars}
    alive, found, after = set(follows), None, set[str]()
    for i, eqn in enumerate(program.eqns):
        flags = [id(v) in follows for v in eqn.invars]
        if not any(flags):
            continue
        outs = {id(v) for v in eqn.outvars}
        follows |= outs
        alive = {v for v in alive | outs if last_use.get(v, -1) > i}
        name, product = eqn.primitive.name, _product(eqn)
        if product is not None and sum(flags) == 1:
            found, after = (product, set()) if alive == outs else (None, {name})
        elif name == "max" and any(isinstance(v, Literal) for v in eqn.invars):
            least = next(v.val for v in eqn.invars if isinstance(v, Literal))
            after |= set() if least == -math.inf else {"max"}
        else:
            after.add(name)
    if found is None:
        return "no product with weights is one that all of the answer goes through"
    if beyond := sorted(after - _AFTER):
        return f"after the last product with weights comes more: {', '.join(beyond)}"
    return found, after


def _last(program: _Program) -> _Last | str:
    """The last product of a program; else why there is none."""
    dominating = _dominating(program)
    if isinstance(dominating, str):
        return dominating
    eqn, after = dominating
    side = 0 if id(eqn.invars[0]) in _followers(program) else 1
    operand: Any = eqn.invars[side]
    numbers = eqn.params["dimension_numbers"]
    every = range(operand.aval.ndim)
    if eqn.primitive.name == "dot_general":
        axes = tuple(numbers[0][side])
    elif side == 1 or eqn.params["feature_group_count"] != 1:
        return "the last product with weights is a convolution in groups"
    else:
        weight, answer = (v.aval for v in (eqn.invars[1], eqn.outvars[0]))
        kernel, out = weight.shape, answer.shape  # type: ignore[attr-defined]
        axes = (numbers.lhs_spec[1],)
        if any(kernel[i] != 1 for i in numbers.rhs_spec[2:]):
            if any(out[i] != 1 for i in numbers.out_spec[2:]):
                return "the last product with weights is a convolution of some size"
            axes += tuple(numbers.lhs_spec[2:])
    free = tuple(i for i in every if i not in axes)
    places = sum(operand.aval.shape[i] > 1 for i in free) > 1  # beside the batch
    picks = "slice" in after or ("reduce_max" in after and "exp" not in after)
    if places and (picks or "reduce_sum" not in after):
        return "what the last product with weights gives is not averaged, but picked"
    scope = str(eqn.source_info.name_stack)
    return _Last(operand, axes, free, eqn.invars[1 - side], scope)


def _followers(program: _Program) -> set[int]:
    """Ids of what follows from ``x``."""
    found = {id(program.closed.jaxpr.invars[-1])}
    for eqn in program.eqns:
        if any(id(v) in found for v in eqn.invars):
            found |= {id(v) for v in eqn.outvars}
    return found


def _name(program: _Program, last: _Last, variables: PyTree) -> str:
    """What the layer of the last product is called, by its weights or its scope."""
    atom = last.weight
    while (eqn := program.source(atom)) is not None:
        inputs = [v for v in eqn.invars if not isinstance(v, Literal)]
        if len(inputs) != 1:
            break
        atom = inputs[0]
    for var, name in zip(program.closed.jaxpr.invars, by_path(variables), strict=False):
        if var is atom and "/" in name:
            return name.removeprefix("params/").rpartition("/")[0]
    return last.scope.split("/")[-1] or "the last dense layer"


def _features(batch: int, apply: Apply, variables: PyTree, x: jax.Array) -> jax.Array:
    program = _program(apply, variables, x)
    last = _last(program)
    assert not isinstance(last, str), last
    value = program.up_to(last.operand, variables, x)
    order = (batch, *(i for i in last.free if i != batch), *last.axes)
    value = value.transpose(order)
    pooled = len(last.free) - 1
    return value.mean(tuple(range(1, 1 + pooled))).reshape(len(x), -1)


def find(apply: Apply, variables: PyTree, shape: tuple[int, ...]) -> Features:
    """What the last dense layer reads, as a function that can be differentiated.

    Args:
      apply: the network.
      variables: what it is called with.
      shape: of one input.
    """
    found: list[_Last] = []
    for count in (2, 3):
        x = jax.ShapeDtypeStruct((count, *shape), jnp.float32)
        try:
            program = _program(apply, variables, x)
            last = _last(program)
        except Exception as error:  # whatever a layer makes of a shape not its own
            why = f"it does not read inputs of shape {shape}: {brief(error)}"
            return no_features(why)
        if isinstance(last, str):
            return no_features(last)
        found.append(last)
    shapes = [last.operand.aval.shape for last in found]
    batch = [i for i in found[0].free if [s[i] for s in shapes] == [2, 3]]
    if len(batch) != 1:
        return no_features("the last product with weights mixes the inputs of a batch")
    name = _name(program, found[-1], variables)
    return Features(functools.partial(_features, batch[0], apply), f"{name} (input)")


def brief(error: BaseException) -> str:
    """The first line of what an error says, without its end if that is long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:150]
