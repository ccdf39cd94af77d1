"""Drawn uses of the operators that move, multiply, pool and normalise."""

import numpy as np
from hypothesis import assume
from onnx_cases import case, flag, pick, some, whole

IMAGES = [(1, 4, 7, 6), (2, 4, 5, 8)]
ROWS = [(2, 4, 9)]


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


@case("Gemm")
def gemm(draw, w, op):
    a, b = flag(draw), flag(draw)
    x = some(draw, w, [(4, 4)])
    matrix = w.weight(*([3, 4] if b else [4, 3]))
    c = pick(draw, [], [w.weight(3)], [w.weight(4, 1)])
    how = pick(draw, {}, {"alpha": 0.5, "beta": 2.0})
    return w(op, "x", matrix, *c, transA=a, transB=b, **how), x


@case("MatMul")
def matmul(draw, w, op):
    x = some(draw, w)
    return w(op, "x", w.weight(x.shape[-1], 3)), x


@case("Einsum")
def einsum(draw, w, op):
    return w(op, "x", w.weight(4, 5), equation="bik,kj->bij"), some(
        draw, w, [(2, 3, 4)]
    )


def window(draw, rank, size, *, same=True):
    """Attributes of a convolution or pool."""
    how = {"strides": [pick(draw, 1, 2) for _ in range(rank)]}
    mode = pick(
        draw, "", "pads", *(["SAME_UPPER", "SAME_LOWER", "VALID"] if same else [])
    )
    if mode == "pads":
        how["pads"] = [pick(draw, 0, 1) for _ in range(2 * rank)]
    elif mode:
        how["auto_pad"] = mode
    return how


@case("Conv", "ConvTranspose")
def conv(draw, w, op):
    x = some(draw, w, [*IMAGES, *ROWS])
    rank, groups = x.ndim - 2, pick(draw, 1, 2, 4)
    kernel = [pick(draw, 1, 2, 3) for _ in range(rank)]
    how = window(draw, rank, kernel, same=op == "Conv")
    if "auto_pad" not in how and flag(draw):
        how["dilations"] = [2] * rank
        assume(op == "ConvTranspose" or "pads" in how or max(kernel) < 3)
    if op == "ConvTranspose":
        shape = (4, 8 // groups, *kernel)
        if flag(draw) and min(how["strides"]) == 2:
            how["output_padding"] = [1] * rank
    else:
        shape = (8, 4 // groups, *kernel)
    bias = [w.weight(8)] if flag(draw) else []
    return w(op, "x", w.weight(*shape), *bias, group=groups, **how), x


@case("MaxPool", "AveragePool", "LpPool")
def pool(draw, w, op):
    x = some(draw, w, [*IMAGES, *ROWS] if op != "LpPool" else IMAGES)
    rank = x.ndim - 2
    how = window(draw, rank, 3, same=op != "LpPool")
    if op == "AveragePool":
        how["count_include_pad"] = flag(draw)
    if op != "LpPool" and "auto_pad" not in how:
        how["ceil_mode"] = flag(draw)
    if op == "MaxPool" and "auto_pad" not in how and flag(draw):
        how["dilations"] = [2] * rank
    size = pick(draw, 2, 3) if "dilations" not in how else 2
    return w(op, "x", kernel_shape=[size] * rank, **how), x


@case("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def over_all(draw, w, op):
    return w(op, "x"), some(draw, w, IMAGES)


@case("BatchNormalization")
def batch_norm(draw, w, op):
    x = some(draw, w, IMAGES)
    stats = [w.weight(4), w.weight(4), w.weight(4), w.weight(4, positive=True)]
    return w(op, "x", *stats, epsilon=1e-3), x


@case("LayerNormalization", since=17)
@case("RMSNormalization", since=23)
def layer_norm(draw, w, op):
    x, axis = some(draw, w, [(2, 4, 6)]), pick(draw, -1, 1)
    shape = x.shape[axis:]
    bias = [w.weight(*shape)] if op == "LayerNormalization" and flag(draw) else []
    return w(op, "x", w.weight(*shape), *bias, axis=axis), x


@case("InstanceNormalization")
def instance_norm(draw, w, op):
    return w(op, "x", w.weight(4), w.weight(4)), some(draw, w, IMAGES)


@case("GroupNormalization", since=21)
def group_norm(draw, w, op):
    return w(op, "x", w.weight(4), w.weight(4), num_groups=2), some(draw, w, IMAGES)


@case("LpNormalization")
def lp_norm(draw, w, op):
    x = some(draw, w)
    x[0] = 0
    return w(op, "x", p=pick(draw, 1, 2), axis=pick(draw, 1, -1)), x


@case("LRN")
def local_response(draw, w, op):
    return w(op, "x", size=3, alpha=0.1, bias=2.0), some(draw, w, IMAGES)


@case("MeanVarianceNormalization")
def mean_variance(draw, w, op):
    how = pick(draw, {}, {"axes": [0, 2, 3]}, {"axes": [0, 1, 2, 3]})
    return w(op, "x", **how), some(draw, w, IMAGES)


@case("Resize")
def resize(draw, w, op):
    x, mode = some(draw, w, [(1, 2, 4, 6)]), pick(draw, "nearest", "linear", "cubic")
    how = {
        "mode": mode,
        "coordinate_transformation_mode": pick(
            draw, "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"
        ),
    }
    if mode == "nearest":
        rules = "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"
        how["nearest_mode"] = pick(draw, *rules)
    if mode == "cubic":
        how["exclude_outside"] = flag(draw)
    if flag(draw):
        return w(
            op, "x", "", "", w.array([1, 2, *pick(draw, (8, 12), (3, 4))]), **how
        ), x
    scales = np.float32([1, 1, *pick(draw, (2, 2), (0.5, 1.5))])
    return w(op, "x", "", w.array(scales), **how), x
