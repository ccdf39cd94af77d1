"""Populations that were trained apart, joined into one."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bdjax import storage
from bdjax.attacks import Attack
from bdjax.population.bank import copy_bank
from bdjax.population.inspection import Damage, damage
from bdjax.population.population import read_chunk
from bdjax.population.spec import origin_of
from bdjax.types import UserError

Place = str | os.PathLike[str]


def merge_populations(
    directories: Sequence[Place],
    out: Place,
    *,
    callback: Callable[[int, int], None] | None = None,
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
    store: storage.ChunkStore,
    n: int,
    holders: list[storage.ChunkStore],
    attack: Attack,
) -> list[str]:
    """Copies chunk ``n`` from the first that has it whole; if none has, says why."""
    faults: list[tuple[storage.ChunkStore, Damage]] = []
    for holder in holders:
        try:
            read_chunk(holder, n, attack)
        except UserError as error:
            faults.append((holder, damage(holder, n, error)))
            continue
        store.copy(n, holder)
        return []
    holder, fault = faults[0]
    return [f"{holder.directory}, {fault}"]


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
