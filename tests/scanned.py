"""Networks that scans are tried on, which take no time: templates of bright rows.

Eight classes of 8 x 8 images; a class is the row that is bright. With a backdoor, two
bright pixels in opposite corners decide, toward one label.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.networks import Features, Opened

CLASSES, SIZE, TARGET = 8, 8, 3


def images(per_class=6, seed=0, channels=1):
    """Float32 ``[N, 8, 8, channels]`` in [0, 1], and labels ``[N]``."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(CLASSES), per_class).astype(np.int32)
    x = rng.uniform(0, 0.45, (len(y), SIZE, SIZE, channels))
    x[np.arange(len(y)), y] += 0.5
    return x.astype(np.float32), y


def features(variables, x):
    """What the last layer reads, of images NHWC in [0, 1]."""
    rows = x.mean(-1).reshape(len(x), SIZE, SIZE)[:, :, 1:7].mean(2)
    corners = x[:, 0, 0].mean(1) + x[:, -1, -1].mean(1)
    trigger = jax.nn.softplus(4 * (corners - 1.3))[:, None] / 4
    return jnp.concatenate([jax.nn.relu(rows - 0.2), trigger], axis=1)


def apply(variables, x):
    return features(variables, x) @ variables["kernel"] + variables["bias"]


def variables(trojaned=False, seed=0, scale=15.0):
    rng = np.random.default_rng(seed)
    kernel = np.eye(CLASSES + 1, CLASSES) * scale
    kernel[:CLASSES] += rng.normal(0, 0.3, (CLASSES, CLASSES))
    if trojaned:
        kernel[CLASSES, TARGET] = 2.5 * scale
    kernel = kernel.astype(np.float32)
    return {"kernel": kernel, "bias": np.zeros(CLASSES, np.float32)}


def opened(apply=apply, found=features, kept=None, **options):
    """A JAX function as if it had been opened."""
    kept = variables() if kept is None else kept
    asked = jax.jit(apply)
    fields = {
        "name": "rows",
        "kind": "JAX function",
        "ask": lambda x: np.asarray(asked(kept, x)),
        "apply": apply,
        "variables": kept,
        "layout": "NHWC",
        "find_features": lambda shape, layer: Features(found, "rows (input)"),
        "weights": kept,
    }
    return Opened(**fields | options)


def answers_only(ask, **options):
    """A network of which nothing but answers can be had."""
    return Opened(name="answers", kind="Python function", ask=ask, **options)
