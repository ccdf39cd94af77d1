"""Trained models and what is known of each, read back from disk."""

import dataclasses
import os
from typing import Any

import jax
import numpy as np

from bdjax import storage, tree
from bdjax.attacks import NO_TARGET, Attack, Trigger
from bdjax.models import Formulation
from bdjax.population.bank import read_bank
from bdjax.population.judge import Quality, contradiction
from bdjax.population.model_files import trigger_from
from bdjax.population.spec import Origin, origin_of
from bdjax.types import PyTree, UserError, Variables

_PARTS = {"ids", "variables", "triggers", "quality"}
_FIX = "bdjax population --repair trains it again"


@dataclasses.dataclass(frozen=True)
class Population(Origin):
    """Trained models and what is known of each; all NumPy.

    Attributes:
      ids_M: int, what the models are called.
      variables: stacked variables, leaves ``[M, ...]``.
      triggers: stacked triggers, leaves ``[M, ...]``, without their bank.
      quality: stacked float32 ``[M]``; see :class:`Quality`.
      bank: what the attack prepared for all of them; see :meth:`trigger`.
      digest: of what it was made from, see :class:`bdjax.storage.ChunkStore`.
    """

    ids_M: np.ndarray
    variables: Variables = dataclasses.field(repr=False)
    triggers: Trigger = dataclasses.field(repr=False)
    quality: Quality = dataclasses.field(repr=False)
    bank: PyTree = dataclasses.field(repr=False, default=())
    digest: str = ""

    def __len__(self) -> int:
        return len(self.ids_M)

    def __getitem__(self, models: np.ndarray | slice) -> "Population":
        """Some of the models: an index array or a slice."""
        parts = self.ids_M, self.variables, self.triggers, self.quality
        ids_M, variables, triggers, quality = tree.index(parts, models)
        return dataclasses.replace(
            self, ids_M=ids_M, variables=variables, triggers=triggers, quality=quality
        )

    def trigger(self, i: int) -> Trigger:
        """The trigger of the ``i``-th model, with the bank, ready to be applied."""
        return tree.index(self.triggers, i)._replace(bank=self.bank)

    def model(self, i: int) -> Variables:
        """Variables of the ``i``-th model alone, as ``network.apply`` takes them."""
        return tree.index(self.variables, i)

    def records(self) -> list[dict[str, Any]]:
        """What is known of each model, in plain Python.

        ``id``; ``target`` (None of a benign model, and where it depends on the true
        label); ``rate``, ``cover_rate``; ``description``, a
        :class:`bdjax.attacks.Description`; ``loss``, ``accuracy``, ``asr``.
        """
        records = []
        for i, name in enumerate(self.ids_M.tolist()):
            trigger, quality = self.trigger(i), tree.index(self.quality, i)
            target = int(trigger.target)
            has_target = self.is_trojaned and target != NO_TARGET
            records.append(
                {
                    "id": name,
                    "target": target if has_target else None,
                    "rate": float(trigger.rate),
                    "cover_rate": float(trigger.cover_rate),
                    "description": self.attack.describe(trigger),
                    **{k: float(v) for k, v in quality._asdict().items()},
                }
            )
        return records

    @property
    def is_trojaned(self) -> bool:
        """Whether these models were attacked."""
        return not self.attack.is_benign

    @property
    def diverged_ids(self) -> list[int]:
        """Ids of models whose weights are not finite."""
        return self.ids_M[np.isnan(self.quality.loss)].tolist()

    def without_diverged(self) -> "Population":
        """The models that training did not break."""
        keep = np.flatnonzero(~np.isnan(self.quality.loss))
        if len(keep) == len(self):
            return self
        return self[keep]


def models_of(store: storage.ChunkStore, n: int) -> range:
    """Which of the models that the population is to have are in chunk ``n``."""
    size, ids = store.recipe["chunk_size"], store.ids
    return range(max(ids.start, n * size), min(ids.stop, (n + 1) * size))


def read_chunk(store: storage.ChunkStore, n: int, attack: Attack) -> PyTree:
    """Reads a chunk and checks, beyond its checksums, that it is the one asked for.

    Args:
      store: the population.
      n: the chunk.
      attack: the population's.

    Returns:
      ``{"ids": [m], "variables": ..., "triggers": ..., "quality": ...}``, all leaves
      NumPy with the chunk's models as leading axis.

    Raises:
      UserError: it is missing or damaged, or holds something else than its models, or
        what it says of them contradicts itself.
    """
    chunk = store.load(n)
    size, wanted = store.recipe["chunk_size"], models_of(store, n)
    if fault := _fault(chunk, attack, n * size, size, wanted):
        raise UserError(f"{store.path(n)} {fault}; {_FIX}")
    return chunk


def _fault(
    chunk: PyTree, attack: Attack, first: int, size: int, wanted: range
) -> str | None:
    """What is wrong with a chunk of ``size`` models from ``first`` on."""
    if not isinstance(chunk, dict) or set(chunk) != _PARTS:
        return "holds no models"
    ids = chunk["ids"].tolist()
    if ids != list(range(first, first + len(ids))) or len(ids) > size:
        return f"holds models {ids[0]} to {ids[-1]}, not {first} to {first + size - 1}"
    if wanted and wanted[-1] not in ids:
        return f"lacks model {wanted[-1]}"
    if any(len(leaf) != len(ids) for leaf in jax.tree.leaves(chunk)):
        return "has not one entry a model"
    rate_M = chunk["triggers"]["rate"]
    if wrong := contradiction(attack, chunk["variables"], rate_M, **chunk["quality"]):
        return f"is wrong: model {ids[wrong[0]]} {wrong[1]}"
    return None


def load_population(
    directory: str | os.PathLike[str],
    ids: range | None = None,
    *,
    formulation: Formulation = "auto",
) -> Population:
    """Reads a population back, its objects rebuilt from what the manifest names.

    Args:
      directory: the population's own directory.
      ids: the models to read; all that the population is to have if None.
      formulation: of its network: how convolutions are computed.

    Raises:
      UserError: there is none, models are still missing, or a chunk is damaged.
    """
    store = storage.read_population(directory)
    ids = store.ids if ids is None else ids
    if not ids or ids.step != 1 or ids.start < 0:
        raise UserError(
            f"{directory}: asked for models {ids}; ask for 1 or more, from 0 on, in "
            "steps of 1"
        )
    missing = sorted(set(store.chunks_of(ids)) - set(store.committed()))
    if missing:
        raise UserError(
            f"{directory} is incomplete: it lacks chunks {missing} of models "
            f"{ids.start} to {ids.stop - 1}; resume its training"
        )
    origin = origin_of(store, formulation)
    chunks = [read_chunk(store, n, origin.attack) for n in store.chunks_of(ids)]
    joined = tree.concatenate(chunks)
    wanted = np.isin(joined["ids"], np.arange(ids.start, ids.stop))
    if not wanted.all():  # the last chunk is always trained whole
        joined = tree.index(joined, np.flatnonzero(wanted))
    return Population(
        **vars(origin),
        ids_M=joined["ids"],
        variables=joined["variables"],
        triggers=trigger_from(origin.attack, joined["triggers"]),
        quality=Quality(**joined["quality"]),
        bank=read_bank(store, origin.attack),
        digest=store.digest,
    )
