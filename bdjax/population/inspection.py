"""What a population on disk holds, whether it is whole, and what to do if not."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import storage, tree
from bdjax.population.judge import Quality
from bdjax.population.population import models_of, read_chunk
from bdjax.population.spec import PopulationSpec, origin_of
from bdjax.types import PyTree, UserError

Callback = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Damage:
    """A committed chunk that cannot be read as it was saved, or is another's.

    Attributes:
      chunk: its number.
      ids: the models that it should hold.
      reason: one short line.
    """

    chunk: int
    ids: range
    reason: str

    def __str__(self) -> str:
        first, last = self.ids.start, self.ids.stop - 1
        return f"chunk {self.chunk} (models {first} to {last}): {self.reason}"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a population on disk holds; every chunk of it was read and checked.

    Attributes:
      directory: where it is.
      name: such as ``"shadow-jumbo"``.
      digest: of the recipe, see :class:`bdjax.storage.ChunkStore`.
      recipe: what it was made from, JSON.
      versions: of the libraries that began it, JSON.
      ids: the models that it is to have.
      ids_M: int, those of them that are there and whole.
      quality: of these; float32 ``[M]``.
      target_M: int32, their attackers' labels.
      trojaned_M: bool, whether they were attacked.
      missing: chunks that are yet to be trained.
      damaged: chunks that are there, but not as they were saved, or of another
        population.
      disk_bytes: of all files.
    """

    directory: Path
    name: str
    digest: str
    recipe: dict[str, Any]
    versions: dict[str, Any]
    ids: range
    ids_M: np.ndarray
    quality: Quality
    target_M: np.ndarray
    trojaned_M: np.ndarray
    missing: list[int]
    damaged: list[Damage]
    disk_bytes: int

    @property
    def diverged_ids(self) -> list[int]:
        """Ids of models whose weights are not finite."""
        return self.ids_M[np.isnan(self.quality.loss)].tolist()

    def quantiles(self, field: str) -> tuple[float, float, float] | None:
        """The 5, 50 and 95 % quantiles of a field of ``quality``.

        Over models that did not diverge; None where none has the field, as benign
        models have no attack success rate.
        """
        values_M = getattr(self.quality, field)[~np.isnan(self.quality.loss)]
        values_M = values_M[~np.isnan(values_M)]
        if not values_M.size:
            return None
        low, middle, high = np.quantile(values_M.astype(np.float64), (0.05, 0.5, 0.95))
        return float(low), float(middle), float(high)

    def targets(self) -> dict[int, int]:
        """How many trojaned models send triggered inputs to each label."""
        labels, counts = np.unique(self.target_M[self.trojaned_M], return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def damage(store: storage.ChunkStore, n: int, error: UserError) -> Damage:
    """What :func:`read_chunk` found wrong with chunk ``n``."""
    reason = storage.reason(error.__cause__) if error.__cause__ else str(error)  # type: ignore[arg-type]
    return Damage(n, models_of(store, n), reason)


def inspect_population(
    directory: str | os.PathLike[str], *, callback: Callback | None = None
) -> Summary:
    """Reads every chunk, one at a time, and sums up what is there.

    Safe while a job is training the population. Memory is bounded by the chunk.

    Args:
      directory: the population's own directory.
      callback: called as ``callback(done, total)`` after each of its chunks.

    Raises:
      UserError: there is none, or its manifest is damaged or of a newer bdjax.
    """
    store = storage.read_population(directory)
    origin = origin_of(store)
    committed = set(store.committed())
    missing, damaged, read = [], [], []
    chunks = store.chunks_of(store.ids)
    for i, n in enumerate(chunks):
        wanted = models_of(store, n)
        if n not in committed:
            missing.append(n)
        else:
            try:
                read.append(_known(read_chunk(store, n, origin.attack), wanted))
            except UserError as error:
                damaged.append(damage(store, n, error))
        if callback:
            callback(i + 1, len(chunks))
    ids_M, quality, target_M = tree.concatenate([_nothing(), *read])
    return Summary(
        directory=store.directory,
        name=origin.name,
        digest=store.digest,
        recipe=store.recipe,
        versions=store.manifest.get("versions", {}),
        ids=store.ids,
        ids_M=ids_M,
        quality=quality,
        target_M=target_M,
        trojaned_M=np.full(len(ids_M), not origin.attack.is_benign),
        missing=missing,
        damaged=damaged,
        disk_bytes=store.size_bytes(),
    )


def discard_damaged(
    directory: str | os.PathLike[str],
    spec: PopulationSpec | None = None,
    *,
    callback: Callback | None = None,
) -> list[Damage]:
    """Reads every committed chunk and takes the damaged ones out.

    :func:`bdjax.population.train_population` then trains them again, to the same
    models. Under ``jax.distributed`` all processes call this together, and each
    verifies chunks of its own.

    Args:
      directory: the population's own directory; a missing one is fine.
      spec: what the population must be, so that no other one is touched.
      callback: called as ``callback(done, total)`` after each chunk of this process.

    Returns:
      What this process took out.

    Raises:
      UserError: the manifest is missing, damaged or of a newer bdjax, the population
        is another one, or another job is writing to it.
    """
    if not storage.is_begun(directory):
        return []
    old = storage.read_population(directory)
    attack = origin_of(old).attack
    if spec is not None:
        fields = storage.as_json(spec.to_dict())
        # The manifest says more, of data and chunks.
        found = {k: v for k, v in old.recipe.items() if k in fields}
        if difference := storage.difference("recipe", found, fields):
            raise UserError(
                f"{directory}: {difference}; nothing was repaired; use the "
                "configuration that it was trained with"
            )
    discarded = []
    with storage.open_population(directory, old.recipe, old.ids) as store:
        there = store.committed()
        # By number, not by what is listed: another process may be discarding already.
        mine = storage.share(range(max(there, default=-1) + 1), store.directory.name)
        mine = [n for n in mine if n in set(there)]
        for i, n in enumerate(mine):
            try:
                read_chunk(store, n, attack)
            except UserError as error:
                discarded.append(damage(store, n, error))
                store.discard(n)
            if callback:
                callback(i + 1, len(mine))
        storage.barrier(f"repaired {directory}")
    return discarded


def _known(chunk: PyTree, wanted: range) -> tuple:
    """What a summary keeps of a chunk: ids, quality, targets."""
    ids = chunk["ids"]
    parts = ids, Quality(**chunk["quality"]), chunk["triggers"]["target"]
    # The last chunk is always trained whole.
    return tree.index(parts, np.flatnonzero(np.isin(ids, np.asarray(wanted))))


def _nothing() -> tuple:
    real: Any = np.zeros(0, np.float32)
    integer = np.zeros(0, np.int32)
    return integer, Quality(real, real, real), integer
