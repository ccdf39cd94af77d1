"""Arrays beside the scores: what detectors found, and what attacks look like.

``artefacts/<detector's slug>/<population>-<id>.npz`` holds a finding's arrays,
``.../shown.npz`` what shows the detector itself, and ``artefacts/populations/
<population>.npz`` examples with and without triggers of its first models: ``x_clean``
and ``x_triggered`` ``[n, ...]``, ``ids`` and ``text`` ``[n]``; of images also ``mask``
``[n, H, W]``, what a trigger changes; of sentences ``words``, by token; of tables,
``columns``, ``offset`` and ``scale``.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from bdjax.data import Dataset
from bdjax.population import Examples, Population
from bdjax.population.examples import take
from bdjax.storage.files import write_bytes

FOLDER = "artefacts"
SHOWN = 8  # models of a population
TRIED = 16  # examples, to see what a trigger changes


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an npz, whole or not at all; nothing where there are no arrays."""
    if arrays:
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_bytes(path, file.getvalue())


def population_arrays(
    population: Population, dataset: Dataset, test_N: np.ndarray
) -> dict[str, np.ndarray]:
    """What triggers of a population's first models do; see the module.

    Args:
      population: the models.
      dataset: its data.
      test_N: int, rows to choose examples from.
    """
    few = population[:SHOWN]
    apply = jax.jit(population.attack.apply)
    rows = np.resize(test_N, TRIED)
    x, _ = take(Examples(dataset.x[rows], dataset.y[rows]), np.arange(TRIED))
    triggers = [few.trigger(i) for i in range(len(few))]
    triggered = np.stack([apply(trigger, x) for trigger in triggers])
    found = {
        "x_clean": np.asarray(x[: len(few)]),
        "x_triggered": np.stack([some[i] for i, some in enumerate(triggered)]),
        "ids": few.ids_M,
        "text": np.array([few.attack.describe(trigger).text for trigger in triggers]),
    }
    if x.ndim == 4:
        found["mask"] = (triggered != np.asarray(x)).any((1, 4))
    if dataset.vocabulary:
        found["words"] = np.array(dataset.vocabulary.words)
    if dataset.columns:
        found["columns"] = np.array(dataset.columns)
    if dataset.units is not None:
        found |= {"offset": dataset.units.offset, "scale": dataset.units.scale}
    return found
