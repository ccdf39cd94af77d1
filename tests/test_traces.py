"""How often the long programs are compiled, and what their borders refuse."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_dltnd import apply, images, network
from test_mntd_fit import run
from tiny import EXAMPLES, SUBSET, TEST, make_spec

from bdjax import tnd, tree
from bdjax.mntd import steps
from bdjax.population import Execution, Recipe, train
from bdjax.tnd import solver


@pytest.fixture
def traced(monkeypatch):
    """Has a compiled function fail where it is traced more than ``most`` times."""

    def watch(most, module, name, **static):
        counted = chex.assert_max_traces(getattr(module, name).__wrapped__, n=most)
        monkeypatch.setattr(module, name, jax.jit(counted, **static))

    yield watch
    chex.clear_trace_counter()


def test_one_program_trains_shadows_and_targets_of_any_attack(traced):
    traced(
        1,
        train,
        "_train_chunk",
        static_argnames=("network", "attack", "edit", "recipe", "layout"),
    )
    recipe = Recipe(steps=5, batch_size=8)
    for role, attack, ids in (
        ("shadow", "jumbo", [0, 1]),
        ("shadow", "jumbo", [2, 3]),
        ("target", "M", [0, 1]),
        ("target", "benign", [0, 1]),
    ):
        spec = make_spec(role, attack, recipe)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))
        variables, _, _ = train.train_models(
            spec.network, spec.attack, recipe, keys(jnp.array(ids)), SUBSET, TEST,
            EXAMPLES, execution=Execution(devices=1),
        )  # fmt: skip
        chex.assert_tree_all_finite(variables)


def test_one_program_solves_all_labels_and_iterations(traced):
    # Of the universal problem, and of that of every image by itself.
    traced(2, solver, "_init", static_argnums=(0, 1))
    traced(2, solver, "_advance", static_argnums=(0, 1, 2), donate_argnums=4)
    config = tnd.DLTNDConfig(score="sparse", iterations=20, image_iterations=5)
    for trojaned in (False, True):
        tnd.dl_tnd(
            apply, network(trojaned), *images(), num_classes=4, value_range=(0.0, 1.0),
            config=config, execution=tnd.Execution(devices=1, stride=1),
        )  # fmt: skip


def test_one_program_fits_all_epochs(traced):
    traced(
        1,
        steps,
        "epoch",
        static_argnames=("applies", "spec", "config", "validation_applies"),
    )
    for key in range(2):
        run(key=jax.random.key(key))


def test_entries_that_are_not_of_one_number_are_refused():
    with pytest.raises(AssertionError, match="shape"):
        tree.count({"w": np.zeros((3, 2)), "b": np.zeros(2)})
