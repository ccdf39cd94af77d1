"""Networks that fit on a page, with and without a Trojan, and what a defender has."""

import flax.linen as nn
import numpy as np

from bdjax.detectors import Defaults, Group, Labelled, Resources, Solver
from bdjax.mntd import FitConfig
from bdjax.models import from_linen
from bdjax.models.layers import dense
from bdjax.tasks import Task

SHAPE, CLASSES, REPEATS = (6, 6, 1), 4, 2
DEFAULTS = Defaults(
    fit=FitConfig(queries=3, hidden=4, epochs=2, repeats=REPEATS),
    solver=Solver(iterations=4, searches=2),
    per_class=2,
)


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        del train
        x = x.reshape(len(x), -1)
        self.sow("intermediates", "features", x)
        return dense(CLASSES, fan_in=x.shape[-1], name="logits")(x)


NETWORK = from_linen("linear", Linear(), SHAPE)
TASK = Task(
    name="page",
    shape=SHAPE,
    num_classes=CLASSES,
    value_range=(0.0, 1.0),
    model="linear",
    query_init={"clipped": (0.5, 0.3), "official": (0.0, 1.0)},
)


def networks(seed, trojaned, network=NETWORK, name="page"):
    """Linear networks that tell classes by their row; a Trojan has a corner, too."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, 0.1, (len(trojaned), *SHAPE[:2], CLASSES))
    for label in range(CLASSES):
        kernel[:, label, :, label] += 1
    targets = rng.integers(CLASSES, size=len(trojaned))
    for m in np.flatnonzero(trojaned):
        kernel[m, 4:, 4:, targets[m]] += 4
    layer = {
        "kernel": kernel.reshape(len(trojaned), -1, CLASSES).astype(np.float32),
        "bias": rng.normal(0, 0.1, (len(trojaned), CLASSES)).astype(np.float32),
    }
    return Group(
        name, network, {"params": {"logits": layer}}, 10 + np.arange(len(trojaned)),
        digest=f"{name}-{seed}",
    )  # fmt: skip


def labelled(seed, size, network=NETWORK):
    labels = [np.full(size, label) for label in (0, 1)]
    return Labelled(
        tuple(
            networks(seed + i, one, network, f"page-{seed + i}-{network.name}")
            for i, one in enumerate(labels)
        ),
        tuple(labels),
    )


def images(count, seed=5):
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int32) % CLASSES
    x = rng.uniform(0, 0.6, (count, *SHAPE)).astype(np.float32)
    x[np.arange(count), y] += 0.4
    return x, y


def resources(**change):
    (x, y), (test_x, test_y) = images(16), images(30, 6)
    values = {
        "task": TASK, "seed": 3, "progress": False, "x": x, "y": y,
        "shadows": labelled(20, 6), "validation": labelled(30, 4),
        "test_x": test_x, "test_y": test_y,
    }  # fmt: skip
    return Resources(**values | change)
