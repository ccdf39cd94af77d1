"""Models that ``bdjax population export`` wrote: safetensors, and JSON beside it."""

import os
from pathlib import Path
from typing import Any

import jax

from bdjax import storage
from bdjax.models import get_model
from bdjax.networks import functions, weights
from bdjax.networks.base import Given, Opened
from bdjax.types import UserError

_SCHEMA, _KIND = 2, "bdjax model"  # see population.model_files
_FIELDS = {"architecture": str, "input_shape": list, "num_classes": int}


def recognises(source: Any) -> bool:
    """A file of weights."""
    if not isinstance(source, str | os.PathLike):
        return False
    return Path(source).suffix == ".safetensors" and Path(source).is_file()


def open(source: Any, given: Given) -> Opened:
    """Opens it; see :func:`bdjax.networks.open_network`."""
    path = Path(source)
    given.check_alone(path)
    json = path.with_suffix(".json")
    if not json.exists():
        raise UserError(
            f"{path} holds weights and no network; give what builds it, "
            "package.module:callable, and this file as weights"
        )
    about = storage.read_header(json, schema=_SCHEMA, kind=_KIND, fields=_FIELDS)
    arrays = storage.load_tensors(path, crc32=about.get("crc32"))
    # What the attacker drew is no part of the network.
    arrays = {k: v for k, v in arrays.items() if not k.startswith("trigger.")}
    shape = tuple(about["input_shape"])
    network = get_model(
        about["architecture"], input_shape=shape, num_classes=about["num_classes"]
    )
    expected = jax.eval_shape(network.init, jax.random.key(0))
    variables = weights.fitted(arrays, expected, str(path))
    return functions.jax_function(
        path.name,
        network.apply,
        variables,
        kind="bdjax model",
        shapes=(shape,),
        layout="NHWC" if len(shape) == 3 else None,
        shape=shape,
        weights=weights.named(variables),
    )
