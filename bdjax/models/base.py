"""What every other room sees of a network: pure functions."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.types import PRNGKey, Variables


@dataclasses.dataclass(frozen=True)
class Model:
    """A network as pure functions over variables that stack along a model axis.

    Attributes:
      name: what the registry calls it.
      init: ``init(key) -> variables``, nested dicts of float arrays: ``"params"``,
        which are trained, and whatever else the network keeps, such as the running
        ``"batch_stats"`` of its normalisations.
      apply: ``apply(variables, x, *, train=False, key=None, precision="float32") ->
        logits``; ``x`` is float ``[B, H, W, C]`` in the task's value range, logits
        float ``[B, C]``; precisions are those of :mod:`bdjax.models.products`.
      features: ``features(variables, x, *, precision="float32") -> activations``, the
        penultimate layer, float ``[B, D]``.
      train_apply: ``train_apply(variables, x, *, key=None, precision="float32") ->
        (logits, kept)``, as ``apply(train=True)`` does, and beside the logits all
        variables but ``"params"`` as they are after the batch; ``{}`` where there are
        none.
      front: what the network does to ``x`` first, without parameters, if that can be
        done beforehand: ``front(x)`` may stand for ``x`` in all of the above.
    """

    name: str
    init: Callable[[PRNGKey], Variables]
    apply: Callable[..., jax.Array]
    features: Callable[..., jax.Array]
    train_apply: Callable[..., tuple[jax.Array, Variables]]
    front: Callable[[jax.Array], jax.Array] | None = None


def from_linen(name: str, module: nn.Module, input_shape: tuple[int, ...]) -> Model:
    """Adapts a Linen module whose ``__call__(x, *, train)`` gives logits.

    To train in other precisions than float32, it must have a field ``precision``.

    The module must record its penultimate activations with
    ``self.sow("intermediates", "features", ...)``. It may have a method ``front``, see
    :class:`Model`.
    """

    def init(key: PRNGKey) -> Variables:
        variables = module.init(key, jnp.zeros((1, *input_shape)), train=False)
        return {k: v for k, v in variables.items() if k != "intermediates"}

    def run(variables, x, key, precision, **options):
        rngs = None if key is None else {"dropout": key}
        network = module
        if precision != "float32":  # a module of one's own need not know of others
            network = module.clone(precision=precision)
        return network.apply(variables, x, rngs=rngs, **options)

    def apply(variables, x, *, train=False, key=None, precision="float32"):
        if train:
            return train_apply(variables, x, key=key, precision=precision)[0]
        return jnp.asarray(run(variables, x, key, precision, train=False))

    def train_apply(variables, x, *, key=None, precision="float32"):
        kept = [name for name in variables if name != "params"]
        options = {"train": True, "mutable": kept}
        logits, after = run(variables, x, key, precision, **options)
        return jnp.asarray(logits), dict(after)

    def features(variables, x, *, precision="float32"):
        options = {"train": False, "mutable": ["intermediates"]}
        _, state = run(variables, x, None, precision, **options)
        return state["intermediates"]["features"][0]

    front = getattr(module, "front", None)
    return Model(name, init, apply, features, train_apply, front)


@functools.cache
def reads(network: Model, shape: tuple[int, ...]) -> bool:
    """Whether a network answers to an example of ``shape``; traced, not computed."""

    def answer(key: PRNGKey) -> jax.Array:
        x = jnp.zeros((1, *shape))
        x = network.front(x) if network.front else x
        return network.apply(network.init(key), x)

    try:
        jax.eval_shape(answer, jax.random.key(0))
    except Exception:  # whatever a layer makes of a shape that is not its own
        return False
    return True
