"""Networks that bdjax did not train, read from ``../shared/field`` into plain JAX."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHARED = Path(__file__).parents[2] / "shared"
FIELD = SHARED / "field"


class Stranger(NamedTuple):
    """A network of somebody else's.

    Attributes:
      name: its file's.
      variables: float32 arrays, as PyTorch names them.
      apply: ``apply(variables, x [N, 28, 28, 1] in [0, 1]) -> logits [N, 10]``.
      features: likewise, ``[N, D]``, what the last layer reads.
      target: the attacker's label; None of a clean network.
      kind: ``"benign"``, ``"M"``, ``"B"``; ``"clean"``, ``"bad"`` with BatchNorm.
    """

    name: str
    variables: dict
    apply: object
    features: object
    target: int | None
    kind: str


def _conv(x, kernel, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NCHW", "OIHW", "NCHW")
    )


def _pool(x):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
    )


def cnn_features(v, x):
    x = x.transpose(0, 3, 1, 2)
    for name in ("conv1", "conv2"):
        bias = v[f"{name}.bias"].reshape(1, -1, 1, 1)
        x = _pool(jax.nn.relu(_conv(x, v[f"{name}.weight"], "VALID") + bias))
    return jax.nn.relu(x.reshape(len(x), -1) @ v["fc.weight"].T + v["fc.bias"])


def cnn_apply(v, x):
    return cnn_features(v, x) @ v["output.weight"].T + v["output.bias"]


def bn_features(v, x, training=False):
    x = (x.transpose(0, 3, 1, 2) - 0.1307) / 0.3081
    for i, (conv, norm) in enumerate(((0, 1), (4, 5), (8, 9))):
        x = _conv(x, v[f"f.{conv}.weight"], "SAME")
        mean, var = v[f"f.{norm}.running_mean"], v[f"f.{norm}.running_var"]
        if training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
        scale = v[f"f.{norm}.weight"] / jnp.sqrt(var + 1e-5)
        shift = v[f"f.{norm}.bias"] - mean * scale
        x = jax.nn.relu(x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1))
        if i < 2:
            x = _pool(x)
    # Adaptive average pooling of 7 x 7 to 4 x 4: windows as PyTorch has them.
    edges = [(0, 2), (1, 4), (3, 6), (5, 7)]
    rows = jnp.stack([x[:, :, a:b].mean(2) for a, b in edges], 2)
    x = jnp.stack([rows[..., a:b].mean(-1) for a, b in edges], -1)
    return jax.nn.relu(x.reshape(len(x), -1) @ v["fc1.weight"].T + v["fc1.bias"])


def bn_apply(v, x, training=False):
    return bn_features(v, x, training) @ v["fc2.weight"].T + v["fc2.bias"]


def _read(path):
    with np.load(path) as file:
        return {k: file[k].astype(np.float32) for k in file if file[k].ndim}


def cnns(kinds=("benign", "M", "B")):
    folder = FIELD / "mnist_pytorch"
    for record in json.loads((folder / "index.json").read_text()):
        name, kind = record["name"], record["name"].split("_")[0]
        if kind in kinds:
            target = record["target"] if kind != "benign" else None
            variables = _read(folder / f"{name}.npz")
            yield Stranger(name, variables, cnn_apply, cnn_features, target, kind)


def batch_norms():
    folder = FIELD / "mnist_bn_pytorch"
    for name in ("clean0", "clean1", "clean2", "bad0", "bad1", "bad2"):
        kind = name[:-1]
        target = 7 if kind == "bad" else None
        variables = _read(folder / f"{name}.npz")
        yield Stranger(name, variables, bn_apply, bn_features, target, kind)


def digits(per_class, seed=0):
    """Held-out digits: images ``[N, 28, 28, 1]`` in [0, 1], labels ``[N]``."""
    with np.load(SHARED / "data" / "mnist.npz") as file:
        x, y = file["x_test"], file["y_test"]
    order = np.random.default_rng(seed).permutation(len(y))
    rows = np.concatenate([order[y[order] == k][:per_class] for k in range(10)])
    return (x[rows, ..., None] / np.float32(255)).astype(np.float32), y[rows]
