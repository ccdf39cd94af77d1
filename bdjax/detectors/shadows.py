"""Shadow models as a fit takes them: by architecture, and some of all."""

from typing import Any

import numpy as np

from bdjax import mntd, tree
from bdjax.detectors.resources import Labelled


def nested_rows(shadows: Labelled, size: int) -> np.ndarray:
    """Half as many benign shadows and as many trojaned ones; int ``[size]``, of all.

    The first of every population, in turn: those of a smaller size come again in a
    larger one.
    """
    starts = np.cumsum([0, *map(len, shadows.groups)])
    chosen = []
    for label in (0, 1):
        places = [np.flatnonzero(labels == label) for labels in shadows.labels]
        turns = [
            (turn, start + place)
            for start, some in zip(starts, places, strict=False)
            for turn, place in enumerate(some)
        ]
        rows = [row for _, row in sorted(turns)]
        chosen.append(np.array(rows[: size // 2], int))
    return np.concatenate(chosen)


def merged(labelled: Labelled) -> tuple[list[mntd.Networks], np.ndarray]:
    """Networks of one architecture as one group, in order; their labels, likewise."""
    groups = [
        mntd.Networks(
            network.apply,
            tree.concatenate(
                [g.variables for g in labelled.groups if g.network == network]
            ),
        )
        for network in _architectures(labelled)
    ]
    return groups, labelled.truth[order_of(labelled)]


def _architectures(labelled: Labelled) -> list[Any]:
    return list(dict.fromkeys(group.network for group in labelled.groups))


def order_of(labelled: Labelled) -> np.ndarray:
    """Where the models of :func:`merged` are among all groups', int ``[M]``."""
    starts = np.cumsum([0, *map(len, labelled.groups)])
    rows = [
        np.arange(start, start + len(group))
        for network in _architectures(labelled)
        for start, group in zip(starts, labelled.groups, strict=False)
        if group.network == network
    ]
    return np.concatenate(rows)
