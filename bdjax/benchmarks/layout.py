"""bdjax's MNIST network as PyTorch lays its weights out; NumPy alone."""

import numpy as np

from bdjax.types import Variables

CONVOLUTIONS = ("conv1", "conv2")
DENSE = ("hidden", "logits")


def torch_arrays(variables: Variables) -> dict[str, np.ndarray]:
    """A state dict for :func:`bdjax.benchmarks.torch_reference.network`.

    Kernels ``[K, K, C, F]`` become ``[F, C, K, K]`` and ``[in, out]`` becomes
    ``[out, in]``. Both networks flatten their activations in the order channel, row,
    column.

    Args:
      variables: one model's, of ``mntd_mnist_cnn``.
    """
    params, arrays = variables["params"], {}
    for name in (*CONVOLUTIONS, *DENSE):
        axes = (3, 2, 0, 1) if name in CONVOLUTIONS else (1, 0)
        kernel = np.asarray(params[name]["kernel"]).transpose(axes)
        arrays[f"{name}.weight"] = np.ascontiguousarray(kernel)
        arrays[f"{name}.bias"] = np.array(params[name]["bias"])
    return arrays


def torch_images(x_BxHxWxC: np.ndarray) -> np.ndarray:
    """Channels last to channels first: float32 ``[B, C, H, W]``."""
    return np.ascontiguousarray(np.moveaxis(x_BxHxWxC, -1, 1), np.float32)


def training_flop(variables: Variables, side: int) -> int:
    """Useful arithmetic of training on one example: thrice the forward pass's.

    Two operations a multiply-add; what a formulation does beside it does not count.

    Args:
      variables: one model's, of ``mntd_mnist_cnn``; shapes suffice.
      side: of the input image.
    """
    params, multiply_adds = variables["params"], 0
    for name in CONVOLUTIONS:
        shape = params[name]["kernel"].shape
        side = side - shape[0] + 1
        multiply_adds += int(np.prod(shape)) * side**2
        side //= 2
    for name in DENSE:
        multiply_adds += int(np.prod(params[name]["kernel"].shape))
    return 3 * 2 * multiply_adds
