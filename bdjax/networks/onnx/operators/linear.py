"""Products and convolutions."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.networks.convolution import convolve
from bdjax.networks.onnx.operators.common import Node, of


def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    """``alpha a b + beta c``."""
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    y = of(a, b).matmul(a, b)
    y = y * node.get("alpha", 1.0) if node.get("alpha", 1.0) != 1 else y
    return y if c is None else y + c * node.get("beta", 1.0)


def matmul(node: Node, a: Any, b: Any) -> Any:
    """NumPy's."""
    return of(a, b).matmul(a, b)


def einsum(node: Node, *inputs: Any) -> Any:
    """NumPy's."""
    return of(*inputs).einsum(node.get("equation"), *inputs)


def padding(
    node: Node,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: list[int],
    dilations: list[int],
) -> list[tuple[int, int]]:
    """Before and after each spatial axis, stated or automatic."""
    rank, mode = len(sizes), node.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = node.get("pads", [0] * (2 * rank))
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if mode == "VALID":
        return [(0, 0)] * rank
    found = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        found.append(halves(total, mode))
    return found


def halves(total: int, mode: str) -> tuple[int, int]:
    """An odd one goes to the end with ``SAME_UPPER``, else to the start."""
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def conv(node: Node, x: Any, w: Any, b: Any = None) -> jax.Array:
    """Of one to three spatial axes."""
    rank = x.ndim - 2
    strides = node.get("strides", [1] * rank)
    dilations = node.get("dilations", [1] * rank)
    y = convolve(
        jnp.moveaxis(x, 1, -1),
        jnp.moveaxis(w, (0, 1), (-1, -2)),
        strides=strides,
        pads=padding(node, x.shape[2:], w.shape[2:], strides, dilations),
        dilations=dilations,
        groups=node.get("group", 1),
    )
    return jnp.moveaxis(y if b is None else y + b, -1, 1)


def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> jax.Array:
    """The gradient of a convolution."""
    rank, groups = x.ndim - 2, node.get("group", 1)
    ones = [1] * rank
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    extra = node.get("output_padding", [0] * rank)
    kernel = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    full = [
        s * (n - 1) + e + k
        for s, n, e, k in zip(strides, x.shape[2:], extra, kernel, strict=True)
    ]
    mode, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        wanted = wanted[-rank:]
        pads = [halves(f - o, mode) for f, o in zip(full, wanted, strict=True)]
    else:
        given = node.get("pads", [0] * (2 * rank))
        pads = list(zip(given[:rank], given[rank:], strict=True))
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    w = jnp.swapaxes(w, 1, 2).reshape(-1, w.shape[1], *w.shape[3:])
    x = jnp.moveaxis(x, 1, -1)
    spread = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
    y = convolve(
        lax.pad(x, jnp.zeros((), x.dtype), spread),
        jnp.moveaxis(jnp.flip(w, range(2, 2 + rank)), (0, 1), (-1, -2)),
        strides=ones,
        pads=[
            (k - 1 - low, k - 1 - high + e)
            for k, (low, high), e in zip(kernel, pads, extra, strict=True)
        ],
        dilations=dilations,
        groups=groups,
    )
    return jnp.moveaxis(y if b is None else y + b, -1, 1)


OPERATORS = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Einsum": einsum,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
}
