"""One drawn use of every ONNX operator, for comparison with onnxruntime."""

import numpy as np
from hypothesis import strategies as st

CASES = {}
SINCE = {}
SHAPES = [(2, 3), (2, 4, 6), (1, 4, 6, 6)]


def case(*ops, since=13):
    """Registers ``function(draw, w, op) -> outputs, x``."""

    def register(function):
        for op in ops:
            CASES[op], SINCE[op] = function, since
        return function

    return register


def flag(draw):
    return int(draw(st.booleans()))


def pick(draw, *choices):
    return draw(st.sampled_from(choices))


def some(draw, w, shapes=SHAPES):
    return w.rng.standard_normal(pick(draw, *shapes), np.float32)


def whole(w, x, high=5):
    """Whole numbers out of x."""
    x = w("Clip", w("Floor", w("Mul", x, w.array(np.float32(3)))),
          w.array(np.float32(-high)), w.array(np.float32(high)))  # fmt: skip
    return w("Cast", x, to_type=7)


@case(
    *("Abs", "Neg", "Exp", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan"),
    *("Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Reciprocal", "Identity", "Relu"),
    *("Erf", "Sigmoid", "Softplus", "Softsign", "IsNaN", "Dropout"),
)
def unary(draw, w, op):
    x = some(draw, w)
    return w(op, "x"), x / 2 if op == "Tan" else x


@case("HardSwish", since=14)
@case("Mish", since=18)
def newer(draw, w, op):
    return unary(draw, w, op)


@case("Log", "Sqrt", "Asin", "Acos", "Atanh", "Acosh")
def bounded(draw, w, op):
    x = np.abs(np.tanh(some(draw, w))) * 0.9 + 0.01
    return w(op, "x"), x + (1 if op == "Acosh" else 0)


@case("IsInf")
def infinite(draw, w, op):
    x = some(draw, w)
    x.flat[:2] = np.inf, -np.inf
    how = {"detect_negative": flag(draw), "detect_positive": flag(draw)}
    return w(op, "x", **how), x


@case("LeakyRelu", "Elu", "Celu", "ThresholdedRelu")
def with_alpha(draw, w, op):
    how = {} if flag(draw) else {"alpha": 0.3}
    return w(op, "x", **how), some(draw, w)


@case("Selu", "HardSigmoid", "Shrink")
def with_two(draw, w, op):
    names = {"Selu": ("alpha", "gamma"), "HardSigmoid": ("alpha", "beta")}
    first, second = names.get(op, ("lambd", "bias"))
    how = {} if flag(draw) else {first: 0.4, second: 1.2}
    return w(op, "x", **how), some(draw, w)


@case("Gelu", since=20)
def gelu(draw, w, op):
    return w(op, "x", approximate=pick(draw, "none", "tanh")), some(draw, w)


@case("Swish", since=24)
def swish(draw, w, op):
    return w(op, "x", alpha=1.5), some(draw, w)


@case("PRelu")
def prelu(draw, w, op):
    x = some(draw, w)
    return w(op, "x", w.weight(x.shape[-1])), x


@case("Softmax", "LogSoftmax", "Hardmax")
def softmax(draw, w, op):
    x = some(draw, w)
    how = {} if flag(draw) else {"axis": pick(draw, 0, 1, -1)}
    return w(op, "x", **how), x


@case("Clip")
def clip(draw, w, op):
    low = w.array(np.float32(-0.5)) if flag(draw) else ""
    high = w.array(np.float32(0.5)) if flag(draw) else ""
    return w(op, "x", low, high), some(draw, w)


@case("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Less", "Greater")
@case("LessOrEqual", "GreaterOrEqual", "Equal")
def binary(draw, w, op):
    x = some(draw, w)
    other = w.weight(
        *pick(draw, x.shape, x.shape[-1:], (x.shape[0], *x.shape[1:-1], 1))
    )
    if flag(draw) and op not in ("Mean", "Max", "Min", "Sum"):
        return w(op, whole(w, "x"), w.array(np.array([3]))), x
    return w(op, "x", other), x


@case("Mod")
def mod(draw, w, op):
    x = some(draw, w)
    if flag(draw):
        return w(op, "x", w.array(np.float32(0.7)), fmod=1), x
    return w(op, whole(w, "x"), w.array(np.int64(pick(draw, 3, -3)))), x


@case("Pow")
def power(draw, w, op):
    x = np.abs(some(draw, w)) + 0.1
    exponent = pick(draw, np.float32(2), np.float32(0.5), np.int64(3), np.float32(-1))
    return w(op, "x", w.array(exponent)), x


@case("And", "Or", "Xor", "Not", "Where")
def logical(draw, w, op):
    x = some(draw, w)
    a = w("Greater", "x", w.array(np.float32(0)))
    if op == "Not":
        return w(op, a), x
    if op == "Where":
        return w(op, a, "x", w.weight(x.shape[-1])), x
    return w(op, a, w("Less", "x", w.array(np.float32(0.5)))), x


@case("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", since=18)
def bitwise(draw, w, op):
    others = [] if op == "BitwiseNot" else [w.array(np.array([6]))]
    return w(op, whole(w, "x"), *others), some(draw, w)


@case("Cast", "CastLike", since=15)
def cast(draw, w, op):
    kind = pick(draw, 1, 6, 7, 9, 11)
    if op == "Cast":
        return w(op, "x", to_type=kind), some(draw, w)
    return w(op, "x", w.array(np.array([1, 2]))), some(draw, w)


REDUCTIONS = [
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"),
    *("ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
]


@case(*REDUCTIONS)
def reduction(draw, w, op):
    x = np.abs(some(draw, w)) + 0.1
    axes, how = pick(draw, None, [1], [-1], [0, 1]), {"keepdims": flag(draw)}
    as_input = w.opset >= (13 if op == "ReduceSum" else 18)
    if as_input and flag(draw) and axes is None:
        how["noop_with_empty_axes"] = 1
        op = "ReduceSum"  # onnxruntime's other reductions differ from ONNX here
    if axes is None:
        return w(op, "x", **how), x
    if as_input:
        return w(op, "x", w.array(axes), **how), x
    return w(op, "x", axes=axes, **how), x
