"""Keras 3 models, as objects and as .keras files; with gradients on JAX's backend."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax.networks import functions, weights
from bdjax.networks.base import Features, Given, Opened, no_features
from bdjax.types import PyTree, UserError

_OLDEST = (3, 12)
"""Of Keras: before it, safe mode let files run code."""


def recognises(source: Any) -> bool:
    """A Keras model, or a file that holds one."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.is_file():
            return False
        return path.suffix in (".keras", ".h5", ".hdf5")
    room = sys.modules.get("keras")
    return room is not None and isinstance(source, room.Model)


def open(source: Any, given: Given) -> Opened:
    """Opens it; see :func:`bdjax.networks.open_network`."""
    if isinstance(source, str | os.PathLike):
        model, name = _load(Path(source)), Path(source).name
    else:
        model, name = source, source.name
    if given.weights is not None:
        raise UserError(f"{name} is a Keras model with its weights; leave weights out")
    if not model.built:
        raise UserError(f"{name} is not built: call it on some inputs first")
    shape = getattr(model, "input_shape", None)
    if isinstance(shape, list | dict):
        raise UserError(f"{name} takes {len(shape)} inputs; it must take one, images")

    import keras

    if keras.backend.backend() != "jax":
        return functions.numpy_function(
            name,
            lambda x: keras.ops.convert_to_numpy(model(x, training=False)),
            why=f"Keras runs on {keras.backend.backend()}; KERAS_BACKEND=jax has "
            "gradients",
            kind="Keras model",
        )
    shape = tuple(shape[1:]) if shape else None
    images = shape is not None and len(shape) == 3
    last = keras.config.image_data_format() == "channels_last"
    shapes = (shape,) if shape and None not in shape else given.shapes
    variables = {_name(model, v): v.value for v in model.variables if _is_float(v)}

    def by_name(of_shape: tuple[int, ...], layer: str) -> Features:
        try:
            part = keras.Model(model.inputs[0], model.get_layer(layer).output)
        except (ValueError, AttributeError) as error:
            return no_features(f"no layer {layer!r}: {functions.brief(error)}")

        def features(variables: PyTree, x: jax.Array) -> jax.Array:
            return _run(model, part, variables, x).reshape(len(x), -1)

        return Features(features, layer)

    return functions.jax_function(
        name,
        lambda variables, x: _run(model, model, variables, x),
        variables,
        kind="Keras model",
        shapes=shapes,
        by_name=by_name,
        layout=("NHWC" if last else "NCHW") if images else None,
        shape=shape,
        weights=weights.named(variables),
    )


def _load(path: Path) -> Any:
    """Reads a file in Keras' safe mode, which builds nothing from code in it."""
    if path.suffix in (".h5", ".hdf5"):
        raise UserError(
            f"{path} is of an older Keras; load it there and model.save('m.keras')"
        )
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        import keras
    except ImportError as error:
        raise UserError(f"{path} needs Keras: pip install keras") from error
    if tuple(map(int, keras.__version__.split(".")[:2])) < _OLDEST:
        raise UserError(
            f"Keras is {keras.__version__}, whose safe mode is not safe; pip install "
            "'keras>=3.12'"
        )
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever is in a file
        raise UserError(
            f"{path} is no Keras model that can be read safely: "
            f"{functions.brief(error)}; save it with standard layers by "
            "model.save('m.keras')"
        ) from error


def _is_float(variable: Any) -> bool:
    """Whether a variable is a weight, and no state of a random generator."""
    return jax.numpy.issubdtype(variable.value.dtype, np.floating)


def _name(model: Any, variable: Any) -> str:
    """What a variable of a model is called, such as ``dense/kernel``."""
    return variable.path.removeprefix(f"{model.name}/")


def _run(model: Any, part: Any, variables: dict[str, jax.Array], x: jax.Array) -> Any:
    """The answers of a part of a model, by these values of the model's variables."""

    def values(of: Iterable[Any]) -> list[Any]:
        return [variables.get(_name(model, v), v.value) for v in of]

    trainable = values(part.trainable_variables)
    others = values(part.non_trainable_variables)
    return part.stateless_call(trainable, others, x, training=False)[0]
