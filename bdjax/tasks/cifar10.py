"""CIFAR-10: photographs of ten kinds of things."""

from bdjax.tasks.base import Task

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.261)

# Mean and deviation are MNTD's official ones for both starts: CIFAR's pixels fill the
# range, so that clipping costs little.
CIFAR10 = Task(
    name="cifar10",
    shape=(32, 32, 3),
    num_classes=10,
    value_range=(0.0, 1.0),
    model="mntd_cifar_cnn",
    query_init={"official": (MEAN, STD), "clipped": (MEAN, STD)},
)
