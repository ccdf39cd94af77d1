"""A linear classifier of weights: what more than black-box access could tell.

Hidden units have no order, so that weights themselves do not compare between networks;
the sorted statistics of a layer's units do. Learnt from the defender's shadows, for
networks of one of their architectures only.
"""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import numpy as np

from bdjax import checks
from bdjax.detectors.base import Access, Detector, Finding, Needs, unjudged
from bdjax.detectors.resources import Group, Resources
from bdjax.types import Variables


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearWeights(Detector):
    """Logistic regression on standardised statistics of weights.

    Attributes:
      strength: inverse of the regularisation, scikit-learn's C.
    """

    access: ClassVar[Access] = Access.WEIGHTS
    needs: ClassVar[Needs] = Needs(shadows=True)

    strength: float = 0.1

    def __post_init__(self):
        checks.above_zero(strength=self.strength)

    def examine(self, networks: Group, resources: Resources) -> Iterator[Finding]:
        """See :meth:`Detector.examine`."""
        start = time.perf_counter()
        classifier = self._classifier(networks, resources)
        features_MxD = statistics(networks.variables)
        finite_M = np.isfinite(features_MxD).all(1)
        for m, id_ in enumerate(networks.ids_M.tolist()):
            seconds = (time.perf_counter() - start) / (m + 1)
            if classifier is None:
                yield unjudged(
                    id_,
                    "there are no benign and trojaned shadow models of its "
                    f"architecture, {networks.network.name!r}, to compare with",
                    seconds,
                )
            elif not finite_M[m]:
                yield unjudged(id_, "some of its weights are NaN or infinite", seconds)
            else:
                score = float(classifier.decision_function(features_MxD[m][None])[0])
                yield Finding(id_, score, seconds=seconds)

    def _classifier(self, networks: Group, resources: Resources) -> Any:
        """Of the networks' architecture; None without shadows of it."""
        memory = resources.memory.setdefault(self, {})
        name = networks.network.name
        size = statistics(networks.take(slice(1)).variables).shape[1]
        if (name, size) not in memory:
            shadows = resources.shadows
            alike = [
                (statistics(group.variables), labels_M)
                for group, labels_M in zip(shadows.groups, shadows.labels, strict=True)
                if group.network.name == name
            ]
            memory[name, size] = self._fit([a for a in alike if a[0].shape[1] == size])
        return memory[name, size]

    def _fit(self, alike: list[tuple[np.ndarray, np.ndarray]]) -> Any:
        from sklearn.linear_model import LogisticRegression  # slow to import
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if not alike:
            return None
        x, y = (np.concatenate(part) for part in zip(*alike, strict=True))
        kept = np.isfinite(x).all(1)
        if len(set(y[kept].tolist())) < 2:
            return None
        regression = LogisticRegression(C=self.strength, max_iter=1000)
        return make_pipeline(StandardScaler(), regression).fit(x[kept], y[kept])


def statistics(variables: Variables) -> np.ndarray:
    """Sorted statistics of the units of every layer, float64 ``[M, D]``.

    Of a kernel ``[..., out]`` each output unit's norm, least, mean and greatest weight;
    of a bias its values; of other arrays likewise. Each is sorted over the units.
    """
    trained = variables.get("params", variables)
    parts = []
    for leaf in jax.tree.leaves(trained):
        values = np.asarray(leaf, np.float64)
        if values.ndim < 3:
            parts.append(values.reshape(len(values), -1))
            continue
        units = values.reshape(len(values), -1, values.shape[-1])
        norms = np.linalg.norm(units, axis=1)
        parts += [norms, units.min(1), units.mean(1), units.max(1)]
    return np.concatenate([np.sort(part, axis=1) for part in parts], axis=1)
