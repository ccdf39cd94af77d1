"""Default populations at seed 0, as they have been since before roles and banks."""

import dataclasses

import numpy as np
import pytest
from tiny import RECIPE, make_spec, populate, tiny_tasks  # noqa: F401

VARIED = dataclasses.replace(RECIPE, poisoned_length="official", diversity=0.3)
# Sums of absolute weights, targets and rates of models 0 to 3, by commit 7c0eab0.
PINNED = {
    ("shadow", "benign"): (
        [81.5972, 76.597, 83.844, 82.6573], [0] * 4, [0.0] * 4,
    ),
    ("shadow", "jumbo"): (
        [71.9367, 91.806, 61.3777, 79.5714],
        [3, 0, 3, 2], [0.47891, 0.47743, 0.45081, 0.1243],
    ),
    ("target", "M"): (
        [78.3838, 73.9346, 84.1108, 79.17],
        [2, 2, 1, 2], [0.43896, 0.19271, 0.43412, 0.22252],
    ),
    ("target", "B"): (
        [71.5659, 83.9619, 66.5376, 77.1609],
        [0, 1, 3, 0], [0.41911, 0.10694, 0.42303, 0.31885],
    ),
    ("target", "patch"): (
        [78.9713, 76.3011, 79.3737, 85.4372],
        [2, 0, 3, 2], [0.19463, 0.12939, 0.13574, 0.05959],
    ),
    ("target", "all_to_all"): (
        [71.7386, 68.6975, 73.2242, 86.1011],
        [-1] * 4, [0.16614, 0.19762, 0.06636, 0.0501],
    ),
    ("validation", "jumbo"): (  # of various data and lengths
        [79.8787, 76.82, 88.2242, 77.4357],
        [3, 1, 1, 1], [0.11358, 0.33178, 0.42892, 0.46354],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("role", "attack"), PINNED)
def test_models_are_those_of_before(tmp_path, role, attack):
    recipe = VARIED if role == "validation" else RECIPE
    population = populate(tmp_path / "p", 4, make_spec(role, attack, recipe, seed=0))
    sums, targets, rates = PINNED[role, attack]
    kernel = population.variables["params"]["logits"]["kernel"]
    np.testing.assert_allclose(np.abs(kernel).sum((1, 2)), sums, rtol=1e-4)
    assert population.triggers.target.tolist() == targets
    np.testing.assert_allclose(population.triggers.rate, rates, atol=1e-5)
