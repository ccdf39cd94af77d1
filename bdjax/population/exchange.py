"""Models that leave a population as files, such files as a population, and merges."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bdjax import storage
from bdjax.attacks import Attack
from bdjax.population.bank import copy_bank
from bdjax.population.inspection import damage
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


def merge_populations(
    directories: Sequence[Place], out: Place, *, callback: Callback | None = None
) -> range:
    """Joins populations of one recipe, whose models adjoin or overlap, in ``out``.

    Chunks are copied as they are and verified; a merge that was killed goes on when it
    is called again. ``out`` may be one of the populations, which then grows. A chunk
    that several have comes from the first where it is whole.

    Args:
      directories: the populations; they are not changed.
      out: the directory to make, to go on with, or to extend.
      callback: called as ``callback(done, total)`` after each chunk.

    Returns:
      The models that ``out`` now has.

    Raises:
      UserError: they are of different recipes (the first field that differs is named),
        models between them are missing (named), a chunk is missing or damaged in all
        (named; the others are copied), or ``out`` holds something else.
    """
    if len(set(map(Path, directories))) < len(directories) or not directories:
        raise UserError(f"cannot merge {[*map(str, directories)]}; name each one once")
    stores = [storage.read_population(d) for d in directories]
    for other in stores[1:]:
        _check_same(stores[0], other)
    chunks = _adjoining(stores)
    have = [set(store.committed()) for store in stores]
    for n in chunks:
        if not any(n in committed for committed in have):
            where = next(s.directory for s in stores if n in s.chunks_of(s.ids))
            raise UserError(f"{where} lacks chunk {n}; resume its training, then merge")
    ids = range(min(s.ids.start for s in stores), max(s.ids.stop for s in stores))
    damaged: list[str] = []
    attack = origin_of(stores[0]).attack
    with storage.open_population(out, stores[0].recipe, ids) as store:
        for other in stores:
            copy_bank(store, other, attack)
        done = set(store.committed())
        for i, n in enumerate(chunks):
            if n not in done:
                holders = [s for s, c in zip(stores, have, strict=True) if n in c]
                damaged += _copy(store, n, holders, attack)
            if callback:
                callback(i + 1, len(chunks))
    if damaged:
        raise UserError(
            f"{out} is incomplete: {damaged[0]}"
            f"{f' and {len(damaged) - 1} more' if damaged[1:] else ''}; repair that "
            "population, then merge again"
        )
    return store.ids


def _copy(
    store: storage.ChunkStore, n: int, holders: list[storage.ChunkStore], attack: Attack
) -> list[str]:
    """Copies chunk ``n`` from the first that has it whole; if none has, says why."""
    faults = []
    for holder in holders:
        try:
            read_chunk(holder, n, attack)
        except UserError as error:
            faults.append(f"{holder.directory}, {damage(holder, n, error)}")
        else:
            store.copy(n, holder)
            return []
    return faults[:1]


def _check_same(first: storage.ChunkStore, other: storage.ChunkStore) -> None:
    difference = storage.difference("recipe", first.recipe, other.recipe)
    if difference:
        difference = difference.replace(" on disk, ", f" in {first.directory}, ")
        raise UserError(
            f"{difference.removesuffix(' asked')} in {other.directory}; only "
            "populations of one recipe can be merged (for chunk_size: train with "
            "--execution.chunk_size)"
        )


def _adjoining(stores: list[storage.ChunkStore]) -> range:
    """The chunks of all, if there is none between them that no one was to train."""
    spans = sorted((s.chunks_of(s.ids) for s in stores), key=lambda span: span.start)
    size, stop = stores[0].recipe["chunk_size"], spans[0].stop
    for span in spans[1:]:
        if span.start > stop:
            raise UserError(
                f"models {stop * size} to {span.start * size - 1} are in none of "
                f"{[str(s.directory) for s in stores]}; train them, then merge"
            )
        stop = max(stop, span.stop)
    return range(spans[0].start, stop)
