"""Drawn uses of the operators that move and choose elements."""

import numpy as np
from onnx_cases import case, flag, pick, some, whole

IMAGES = [(1, 4, 7, 6), (2, 4, 5, 8)]


@case("Reshape")
def reshape(draw, w, op):
    if w.opset >= 14 and flag(draw):
        return w(op, "x", w.array([6, 4]), allowzero=1), np.ones((2, 3, 4))
    return w(op, "x", w.array(pick(draw, [0, -1], [-1], [4, 0, 2]))), np.ones((4, 3, 2))


@case("Flatten")
def flatten(draw, w, op):
    return w(op, "x", axis=pick(draw, 0, 1, 2, -1)), some(draw, w)


@case("Transpose")
def transpose(draw, w, op):
    how = pick(draw, {}, {"perm": [2, 0, 1]})
    return w(op, "x", **how), some(draw, w, [(2, 4, 6)])


@case("Squeeze")
def squeeze(draw, w, op):
    which = pick(draw, [], [w.array([1])], [w.array([-1])])
    return w(op, "x", *which), np.ones((2, 1, 3, 1))


@case("Unsqueeze")
def unsqueeze(draw, w, op):
    return w(op, "x", w.array(pick(draw, [0], [-1], [0, 2], [1, -1]))), some(draw, w)


@case("Concat")
def concat(draw, w, op):
    return w(op, "x", w("Neg", "x"), "x", axis=pick(draw, 0, 1, -1)), some(draw, w)


@case("Split")
def split(draw, w, op):
    x = some(draw, w, [(2, 7, 3)] if w.opset >= 18 else [(2, 6, 3)])
    if flag(draw):
        parts = w.array([1, x.shape[1] - 1])
        return w(op, "x", parts, outputs=2, axis=1), x
    how = {"num_outputs": 3} if w.opset >= 18 else {}
    return w(op, "x", outputs=3, axis=1, **how), x


@case("Slice")
def cut(draw, w, op):
    starts, ends, axes, steps = pick(
        draw,
        ([1], [3], None, None),
        ([0, 1], [9, -1], [0, 2], None),
        ([-1], [-(2**63)], [1], [-1]),
        ([-2], [2**63 - 1], [-1], [1]),
        ([5, 0], [0, 4], [2, 1], [-2, 3]),
    )
    rest = ["" if a is None else w.array(a) for a in (axes, steps)]
    return w(op, "x", w.array(starts), w.array(ends), *rest), some(draw, w, [(4, 5, 6)])


@case("Pad")
def pad(draw, w, op):
    mode = pick(draw, "constant", "reflect", "edge")
    pads = pick(draw, [0, 0, 1, 2, 0, 0, 2, 1], [0, 0, 3, 0, 0, 0, 0, 1])
    if mode == "constant":
        pads = pick(draw, pads, [0, 0, -1, 2, 0, 0, 1, -2])
    value = [w.array(np.float32(1.5))] if mode == "constant" and flag(draw) else []
    if w.opset >= 18 and flag(draw):
        value = value or [""]
        return w(op, "x", w.array(pads[2:4] + pads[6:]), *value, w.array([2, -1]),
                 mode=mode), some(draw, w, IMAGES)  # fmt: skip
    return w(op, "x", w.array(pads), *value, mode=mode), some(draw, w, IMAGES)


@case("Expand")
def expand(draw, w, op):
    shape = pick(draw, [2, 3, 4], [5, 2, 3, 4], [1], [4])
    return w(op, "x", w.array(shape)), some(draw, w, [(2, 3, 1)])


@case("Tile")
def tile(draw, w, op):
    return w(op, "x", w.array([2, 1, 3])), some(draw, w, [(2, 3, 2)])


@case("Shape", since=15)
def shape(draw, w, op):
    return w(op, "x", **pick(draw, {}, {"start": 1}, {"start": -2, "end": -1})), some(
        draw, w
    )


@case("Size", "ConstantOfShape", "EyeLike")
def of_shape(draw, w, op):
    x = some(draw, w, [(3, 4)])
    if op == "ConstantOfShape":
        return w(op, w("Shape", "x")), x
    return w(op, "x", **({"k": 1} if op == "EyeLike" else {})), x


@case("Range")
def arange(draw, w, op):
    ends = pick(draw, (0, 7, 2), (np.float32(1), np.float32(3), np.float32(0.5)))
    return w(op, *(w.array(e) for e in ends)), some(draw, w)


@case("DepthToSpace")
def depth_to_space(draw, w, op):
    mode = pick(draw, "DCR", "CRD")
    return w(op, "x", blocksize=2, mode=mode), some(draw, w, [(2, 8, 3, 2)])


@case("SpaceToDepth")
def space_to_depth(draw, w, op):
    return w(op, "x", blocksize=2), some(draw, w, [(2, 3, 4, 6)])


@case("Trilu", since=14)
def trilu(draw, w, op):
    k = pick(draw, [], [w.array(np.int64(1))], [w.array(np.int64(-1))])
    return w(op, "x", *k, upper=flag(draw)), some(draw, w)


@case("CumSum", since=14)
def cumsum(draw, w, op):
    how = {"exclusive": flag(draw), "reverse": flag(draw)}
    return w(op, "x", w.array(np.int64(pick(draw, 0, -1))), **how), some(draw, w)


@case("Gather")
def gather(draw, w, op):
    index = pick(draw, 1, [0, -1], [[0, 1], [2, 2]])
    return w(op, "x", w.array(index), axis=pick(draw, 1, -1)), some(draw, w)


@case("GatherElements", "ScatterElements", since=18)
def elements(draw, w, op):
    index = w.array([[0, 2, -1, 1], [1, 0, 2, 0]])
    x = some(draw, w, [(3, 5)])
    if op == "GatherElements":
        return w(op, "x", index, axis=0), x
    how = pick(draw, "none", "add", "mul", "max", "min")
    index = w.array(
        [[0, 2, -1, 1], [1, 0, 2, 0]] if how == "add" else [[0, -2], [1, 2]]
    )
    updates = w.weight(*([2, 4] if how == "add" else [2, 2]))
    return w(op, "x", index, updates, axis=1, reduction=how), x


@case("GatherND")
def gather_nd(draw, w, op):
    if flag(draw):
        return w(op, "x", w.array([[0, 1], [1, -1]])), some(draw, w, [(2, 3, 4)])
    index = w.array([[[1], [0]], [[2], [2]]])
    return w(op, "x", index, batch_dims=1), some(draw, w, [(2, 3, 4)])


@case("ScatterND", since=18)
def scatter_nd(draw, w, op):
    how = pick(draw, "none", "add", "mul", "max", "min")
    index = w.array([[0, 1], [1, 2]])
    return w(op, "x", index, w.weight(2, 4), reduction=how), some(draw, w, [(2, 3, 4)])


@case("ArgMax", "ArgMin")
def arg_best(draw, w, op):
    how = {"keepdims": flag(draw), "select_last_index": flag(draw)}
    x = np.round(some(draw, w))
    return w(op, "x", axis=pick(draw, 0, 1, -1), **how), x


@case("TopK")
def top_k(draw, w, op):
    how = {"largest": flag(draw), "axis": pick(draw, 1, -1)}
    return w(op, "x", w.array([2]), outputs=2, **how), some(draw, w)


@case("OneHot")
def one_hot(draw, w, op):
    index, values = whole(w, "x"), w.array(np.float32([0.5, 2]))
    return w(op, index, w.array([6]), values, axis=pick(draw, -1, 0, 1)), some(draw, w)


@case("NonZero", "Compress")
def chosen(draw, w, op):
    x = some(draw, w, [(3, 4)])
    kept = np.array([True, False, True])
    if op == "NonZero":
        return w(op, w.array(kept)), x
    return w(op, "x", w.array(kept), axis=0), x
