"""Drawn uses of products, convolutions, pools and normalisations."""

import numpy as np
from hypothesis import assume
from onnx_cases import case, flag, pick, some

IMAGES = [(1, 4, 7, 6), (2, 4, 5, 8)]
ROWS = [(2, 4, 9)]


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
