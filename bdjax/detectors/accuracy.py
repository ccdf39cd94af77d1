"""Accuracy alone as a detector: the control that every AUC must be read beside."""

import functools
import time
from collections.abc import Iterator

import jax
import numpy as np

from bdjax.detectors.base import Access, Detector, Finding, Needs, unjudged
from bdjax.detectors.resources import Group, Resources
from bdjax.logits import class_logits
from bdjax.types import UserError

_BLOCK = 100  # examples at once


class Accuracy(Detector):
    """The share of test examples that a network gets wrong."""

    access = Access.LABELS
    needs = Needs(test_rows=True)

    def examine(self, networks: Group, resources: Resources) -> Iterator[Finding]:
        """See :meth:`Detector.examine`."""
        x, y = resources.test_x, resources.test_y
        if x is None or y is None or not len(y):
            raise UserError(f"{self.name} needs labelled test examples; there are none")
        for i, id_ in enumerate(networks.ids_M):
            start = time.perf_counter()
            said_N, finite = [], True
            for first in range(0, len(y), _BLOCK):
                here = x[first : first + _BLOCK]
                said, ok = _classify(networks.apply, networks.one(i), here)
                said_N.append(np.asarray(said))
                finite &= bool(ok)
            seconds = time.perf_counter() - start
            if not finite:
                yield unjudged(id_, "its logits are NaN or infinite", seconds)
                continue
            wrong = float(np.mean(np.concatenate(said_N) != y))
            yield Finding(int(id_), wrong, seconds=seconds)


@functools.partial(jax.jit, static_argnames="apply")
def _classify(apply, variables, x_B):
    logits = class_logits(apply(variables, x_B))
    return logits.argmax(-1), jax.numpy.isfinite(logits).all()
