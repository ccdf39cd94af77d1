"""ONNX's operators in JAX, by name."""

from bdjax.networks.onnx.operators import (
    elementwise,
    indexing,
    linear,
    norms,
    pools,
    resizing,
    shapes,
)

OPERATORS = {
    **elementwise.OPERATORS,
    **shapes.OPERATORS,
    **indexing.OPERATORS,
    **linear.OPERATORS,
    **pools.OPERATORS,
    **norms.OPERATORS,
    **resizing.OPERATORS,
}
