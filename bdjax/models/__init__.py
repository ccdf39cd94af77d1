"""The model zoo: Flax Linen networks behind :class:`Model`."""

from collections.abc import Callable
from functools import cache, partial

import flax.linen as nn

from bdjax import checks
from bdjax.models import deep, small
from bdjax.models.base import Model, from_linen, reads
from bdjax.models.conv import FORMULATIONS, Formulation
from bdjax.models.products import PRECISIONS, Precision
from bdjax.models.text import KimCNN

_WIDTHS = (64, 128, 256, 512)

# Called with num_classes and formulation. All take images of any shape from 28x28 on;
# but for the first two and AlexNet they normalise batches, and so have batch_stats.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "mntd_cifar_cnn": small.CIFARNet,
    "mntd_mnist_cnn": small.MNISTNet,
    "alexnet": deep.AlexNet,
    "preact_resnet": deep.PreActResNet,
    "resnet18": partial(deep.ResNet, blocks=(2, 2, 2, 2), widths=_WIDTHS),
    "resnet50": partial(
        deep.ResNet, blocks=(3, 4, 6, 3), widths=_WIDTHS, bottleneck=True
    ),
    # For a CPU: eight layers, a seventh of mntd_cifar_cnn's time.
    "thin_resnet": partial(
        deep.ResNet, blocks=(1, 1, 1), widths=(16, 16, 32), stem_stride=2
    ),
    "vgg16": deep.VGG16,
    # Small ones for a CPU, as various as can be.
    "depthwise_net": small.DepthwiseNet,
    "dropout_mlp": small.DropoutMLP,
    "global_net": small.GlobalNet,
    "lenet": small.LeNet,
    "norm_net": small.NormNet,
    "slim_vgg": small.SlimVGG,
    "strided_net": small.StridedNet,
    "wide_net": small.WideNet,
    # These take images from 4x4 on, vectors, and series.
    "small_cnn": small.SmallNet,
    "mlp": small.MLP,
    "series_lstm": small.SeriesLSTM,
    # Word vectors of sentences.
    "kim_cnn": KimCNN,
    # Waves of one second.
    "mntd_speech_lstm": small.SpeechLSTM,
}


@cache
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
    checks.one_of(sorted(MODELS), model=name)
    checks.one_of(FORMULATIONS, formulation=formulation)
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
    "reads",
]
