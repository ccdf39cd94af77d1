"""The model zoo: Flax Linen networks behind :class:`Model`."""

import functools

from bdjax.models.base import Model, from_linen
from bdjax.models.cnn import CIFARNet, MNISTNet
from bdjax.models.conv import FORMULATIONS, Formulation
from bdjax.models.products import PRECISIONS, Precision
from bdjax.types import UserError

MODELS = {
    "mntd_cifar_cnn": CIFARNet,
    "mntd_mnist_cnn": MNISTNet,
}


@functools.cache
def get_model(
    name: str,
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    formulation: Formulation = "auto",
) -> Model:
    """The registered network ``name``; equal arguments give the same object.

    Args:
      name: a key of ``MODELS``.
      input_shape: shape of one example, NHWC without N.
      num_classes: number of logits.
      formulation: how convolutions are computed; an execution choice, never a
        change of the result.

    Raises:
      UserError: unknown name or formulation.
    """
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; there are {sorted(MODELS)}")
    if formulation not in FORMULATIONS:
        raise UserError(
            f"unknown formulation {formulation!r}; there are {list(FORMULATIONS)}"
        )
    module = MODELS[name](num_classes=num_classes, formulation=formulation)
    return from_linen(name, module, input_shape)


__all__ = [
    "FORMULATIONS",
    "MODELS",
    "PRECISIONS",
    "Formulation",
    "Model",
    "Precision",
    "from_linen",
    "get_model",
]
