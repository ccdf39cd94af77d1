"""bdjax's networks as PyTorch lays their weights out; NumPy alone."""

import numpy as np

from bdjax.types import Variables

CONVOLUTIONS = ("conv1", "conv2")
DENSE = ("hidden", "logits")


def torch_arrays(variables: Variables) -> dict[str, np.ndarray]:
    """A state dict for :func:`bdjax.benchmarks.pytorch.networks.network`.

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


def torch_inputs(x_B: np.ndarray) -> np.ndarray:
    """Images channels first, anything else as it is."""
    return torch_images(x_B) if x_B.ndim == 4 else x_B


def torch_images(x_BxHxWxC: np.ndarray) -> np.ndarray:
    """Channels last to channels first: float32 ``[B, C, H, W]``."""
    return np.ascontiguousarray(np.moveaxis(x_BxHxWxC, -1, 1), np.float32)
