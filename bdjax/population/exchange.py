"""Models that leave a population as single files, and such files as a population."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import storage
from bdjax.population.judge import Quality
from bdjax.population.model_files import describe, load_model, save_model
from bdjax.population.population import models_of, read_chunk
from bdjax.population.spec import origin_of
from bdjax.types import PyTree, UserError, Variables

Place = str | os.PathLike[str]
Callback = Callable[[int, int], None]

_ROLE = "imported"
_CHUNK_SIZE = 64


def export_models(
    directory: Place, ids: range, out: Place, *, callback: Callback | None = None
) -> list[Path]:
    """Writes models of a population as single files, ``model-00017.safetensors``.

    The file holds the variables by their path (``params.conv1.kernel``) and the trigger
    (``trigger.form.mask``); ``model-00017.json`` beside it everything else.

    Args:
      directory: the population's own directory; only the chunks of ``ids`` must be
        there.
      ids: the models.
      out: the directory to write to; files of the same models are replaced.
      callback: called as ``callback(done, total)`` after each chunk.

    Returns:
      The safetensors files.

    Raises:
      UserError: the population has no such models, a chunk is missing or damaged, or
        ``out`` holds models of the same ids from elsewhere or cannot be written.
    """
    store = storage.read_population(directory)
    if not ids or ids.start < store.ids.start or ids.stop > store.ids.stop:
        raise UserError(
            f"{directory} has models {store.ids.start} to {store.ids.stop - 1}; asked "
            f"for {ids.start} to {ids.stop - 1}"
        )
    origin = origin_of(store)
    about = describe(origin)
    files = []
    chunks = store.chunks_of(ids)
    for k, n in enumerate(chunks):
        chunk = read_chunk(store, n, origin.attack)
        begin = chunk["ids"][0].item()
        wanted = range(max(begin, ids.start), min(begin + len(chunk["ids"]), ids.stop))
        for i in wanted:
            model = jax.tree.map(lambda leaf, row=i - begin: leaf[row], chunk)
            files.append(
                save_model(Path(out), about | _origin(store, origin.name, i), model)
            )
        if callback:
            callback(k + 1, len(chunks))
    return files


def import_models(
    directory: Place, out: Place, *, callback: Callback | None = None
) -> range:
    """Makes a population of exported models, which is then read like any other.

    Models are numbered from 0 in the order of their file names; what they were called
    is in the manifest's recipe.

    Args:
      directory: where their files lie, ``*.safetensors`` with their JSON.
      out: the population to make; one that was killed goes on.
      callback: called as ``callback(done, total)`` after each chunk.

    Returns:
      The ids of the population.

    Raises:
      UserError: there are none, a file is at fault (see :func:`load_model`), they are
        not of one task, architecture and attack, two of them have the same weights, or
        ``out`` holds something else.
    """
    paths = sorted(Path(directory).glob("*.safetensors"))
    if not paths:
        raise UserError(f"no *.safetensors in {directory}; check the path")
    # All are read before anything is written, so that a bad one leaves nothing.
    recipe = _recipe_of(paths)
    ids, size = range(len(paths)), recipe["chunk_size"]
    with storage.open_population(out, recipe, ids) as store:
        chunks, done = store.chunks_of(ids), set(store.committed())
        for n in chunks:
            wanted = models_of(store, n)
            if n not in done:
                chunk = _stacked(map(load_model, paths[n * size : (n + 1) * size]))
                store.save(n, {"ids": np.asarray(wanted, np.int32), **chunk})
            if callback:
                callback(n + 1, len(chunks))
    return ids


def _origin(store: storage.ChunkStore, name: str, i: int) -> dict[str, Any]:
    """Whose model it is; an imported one stays what it was."""
    recipe = store.recipe
    if recipe["role"] == _ROLE:
        model = recipe["models"][i]
        return {k: model[k] for k in ("id", "population")} | {
            "recipe": recipe["recipes"][model["recipe"]]
        }
    return {"id": i, "population": name, "recipe": recipe}


def _recipe_of(paths: list[Path]) -> dict[str, Any]:
    """The recipe of the population of these models, which says where each is from."""
    models: list[dict[str, Any]] = []
    recipes: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    seen: dict[bytes, Path] = {}
    for path in paths:
        variables, record = load_model(path)
        # Diverged ones may well be NaN throughout.
        same = seen.setdefault(_fingerprint(variables), path)
        if same != path and not np.isnan(record["loss"]):
            raise UserError(
                f"{path} has the weights of {same.name}, every bit; leave one of the "
                "two out"
            )
        first = first or record
        for name in ("task", "architecture", "attack"):
            if record[name] != first[name]:
                raise UserError(
                    f"{path}: {name} is {record[name]!r}, {paths[0].name} has "
                    f"{first[name]!r}; import them into directories of their own"
                )
        if record["recipe"] not in recipes:
            recipes.append(record["recipe"])
        model = {name: record[name] for name in ("id", "population", "crc32")}
        models.append(model | {"recipe": recipes.index(record["recipe"])})
    return {
        "task": first["task"],
        "role": _ROLE,
        "attack": first["attack"],
        "architecture": first["architecture"],
        "locations": first["recipe"].get("locations", "all"),
        "chunk_size": min(_CHUNK_SIZE, len(paths)),
        "models": models,
        "recipes": recipes,
    }


def _fingerprint(variables: Variables) -> bytes:
    """The same for the same weights of one architecture."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.digest()


def _stacked(models: Iterator[tuple[Variables, dict[str, Any]]]) -> PyTree:
    """Models as a chunk holds them: leaves with the model axis first."""
    parts = [
        {
            "variables": variables,
            "triggers": record["trigger"],
            "quality": {name: record[name] for name in Quality._fields},
        }
        for variables, record in models
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
