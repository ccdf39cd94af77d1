"""What an attack prepares once for all models of a population, kept beside them."""

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import prng, storage
from bdjax.attacks import Attack, Preparation
from bdjax.population.examples import Examples, reader, take
from bdjax.population.spec import PopulationSpec
from bdjax.types import PyTree, UserError

NAME = "bank"
_KIND = "attack bank"


def prepare_bank(
    store: storage.ChunkStore,
    spec: PopulationSpec,
    examples: Examples,
    subset_N: np.ndarray,
) -> PyTree:
    """The population's bank, made by the first process and read by all of them.

    Args:
      store: the population, held open by this job.
      spec: what it is made of.
      examples: the data set.
      subset_N: int, the trainer's rows.

    Returns:
      The bank, NumPy; ``()`` if the attack has none.

    Raises:
      UserError: it is missing though models were trained with it, or damaged.
    """
    if spec.attack.prepare is None:
        return ()
    if storage.is_first() and not (store.directory / NAME).exists():
        if store.committed():
            raise UserError(
                f"{store.directory} has models and no {NAME}, which they were trained "
                "with; restore it, or delete the directory to train all again"
            )
        key = prng.stream(prng.stream(prng.root(spec.seed), spec.name), NAME)
        x, y = take(examples, jnp.asarray(subset_N))
        network = reader(spec.network, examples)
        known = Preparation(spec.task, network, x, y)
        _save(store, jax.device_get(spec.attack.prepare(key, known)))
    storage.barrier(f"prepared {store.directory}")
    return read_bank(store, spec.attack)


def read_bank(store: storage.ChunkStore, attack: Attack) -> PyTree:
    """The bank of a population on disk; ``()`` if it has none.

    Raises:
      UserError: it is damaged or another population's.
    """
    directory, owner = store.directory / NAME, {"population": store.digest}
    if attack.prepare is None or not directory.exists():
        return ()
    return storage.load_tree(directory, kind=_KIND, provenance=owner)[0]


def copy_bank(
    store: storage.ChunkStore, source: storage.ChunkStore, attack: Attack
) -> None:
    """Gives a merged population the bank of one of its parts, or compares them.

    Raises:
      UserError: the parts have different banks.
    """
    old, new = (read_bank(each, attack) for each in (store, source))
    if not old and new:
        _save(store, new)
    elif not all(jax.tree.leaves(jax.tree.map(np.array_equal, old, new))):
        raise UserError(
            f"the {NAME} in {source.directory} is not the one in {store.directory}; "
            "only populations that were prepared once can be merged"
        )


def _save(store: storage.ChunkStore, bank: PyTree) -> None:
    owner, fresh = {"population": store.digest}, store.directory / f"{NAME}.new"
    storage.save_tree(fresh, bank, {}, kind=_KIND, provenance=owner)
    fresh.rename(store.directory / NAME)  # whole, or a kill leaves none
