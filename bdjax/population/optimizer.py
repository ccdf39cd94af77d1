"""What turns a model's gradients into its updates."""

import jax
import optax

from bdjax.population.recipe import Recipe
from bdjax.types import PyTree

MOMENTUM = 0.9


def make_optimizer(
    recipe: Recipe, steps: int | jax.Array
) -> optax.GradientTransformation:
    """The optimiser of one model.

    Args:
      recipe: which one.
      steps: int scalar, may be traced: the model's own number of steps.
    """
    rate: float | optax.Schedule = recipe.learning_rate
    if recipe.schedule == "cosine":
        cosine = optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps)
        # Models differ in length, and each is to end at 0.
        stretch = recipe.steps / steps

        def rate(count: jax.Array) -> jax.Array:
            return cosine(count * stretch)

    optimizer = (
        optax.adam(rate)
        if recipe.optimizer == "adam"
        else optax.sgd(rate, momentum=MOMENTUM)
    )
    if not recipe.weight_decay:
        return optimizer
    # Coupled, as in the papers: part of the gradient.
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=_kernels)
    return optax.chain(decay, optimizer)


def _kernels(params: PyTree) -> PyTree:
    """Which leaves are kernels."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
    )
