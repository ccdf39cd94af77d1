"""A layer of long short-term memory, as PyTorch computes and initialises it.

Its gradient is written by hand: the way back in time holds one product a step, and the
weights' gradients are one product over all steps after it. A step's input and state
are multiplied together, so that no driven gates ``[T, B, 4 H]`` are kept for later.
Gates go through memory one by one, since on a CPU joining arrays costs what a pass
over them does.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.layers import torch_bias
from bdjax.models.products import Precision, bits, flip, from_bits, product, rounded


class LSTM(nn.Module):
    """One layer; its answers at every time step.

    Gates lie side by side in the order input, forget, cell, output. As in PyTorch
    there are two biases, and every weight starts uniform in +-1/sqrt(features).

    Attributes:
      features: number of cells.
      precision: of its products, see :mod:`bdjax.models.products`.
    """

    features: int
    precision: Precision = "float32"

    @nn.compact
    def __call__(self, x_BxTxE: jax.Array) -> jax.Array:
        """Sequences float ``[B, T, E]`` to hidden states float ``[B, T, features]``."""
        cells, gates = self.features, 4 * self.features
        uniform = torch_bias(cells)
        kernel = self.param("kernel", uniform, (x_BxTxE.shape[2], gates))
        recurrent = self.param("recurrent", uniform, (cells, gates))
        bias = self.param("bias", uniform, (gates,))
        bias = bias + self.param("recurrent_bias", uniform, (gates,))
        x_TxBxE = x_BxTxE.transpose(1, 0, 2)
        hidden = lstm(x_TxBxE, kernel, recurrent, bias, self.precision)
        return hidden.transpose(1, 0, 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def lstm(
    x_TxBxE: jax.Array,
    kernel_ExG: jax.Array,
    recurrent_HxG: jax.Array,
    bias_G: jax.Array,
    precision: Precision,
) -> jax.Array:
    """Hidden states float ``[T, B, H]`` of sequences, from a state of zero on.

    Args:
      x_TxBxE: float32.
      kernel_ExG: float32, ``G = 4 H``.
      recurrent_HxG: float32.
      bias_G: float32.
      precision: of the products.
    """
    return _forward(x_TxBxE, kernel_ExG, recurrent_HxG, bias_G, precision)[0]


def _forward(x_TxBxE, kernel_ExG, recurrent_HxG, bias_G, precision):
    x_TxBxE = rounded(x_TxBxE, precision)
    weights = rounded(jnp.concatenate([kernel_ExG, recurrent_HxG]), precision)

    def step(state, x_BxE):
        hidden, cell = state
        joined = jnp.concatenate([x_BxE, rounded(hidden, precision)], axis=1)
        total = product(joined, weights, precision) + bias_G
        enter, forget, new, leave = jnp.split(total, 4, axis=1)
        enter, forget, leave = map(nn.sigmoid, (enter, forget, leave))
        new = jnp.tanh(new)
        cell = forget * cell + enter * new
        hidden = leave * jnp.tanh(cell)
        return (hidden, cell), (hidden, cell, (enter, forget, new, leave))

    zero = jnp.zeros((x_TxBxE.shape[1], len(recurrent_HxG)), jnp.float32)
    _, (hidden, cell, gates) = lax.scan(step, (zero, zero), x_TxBxE)
    return hidden, (x_TxBxE, weights, hidden, cell, gates)


def _backward(precision, saved, grad_TxBxH):
    x_TxBxE, weights, hidden, cell, gates = saved
    inputs = x_TxBxE.shape[2]

    def step(state, now):
        grad_hidden, grad_cell = state
        grad, cell, before, (enter, forget, new, leave) = now
        grad_hidden += grad
        shown = jnp.tanh(cell)
        grad_cell += grad_hidden * leave * (1 - shown**2)
        grad_total = jnp.concatenate(
            [
                grad_cell * new * enter * (1 - enter),
                grad_cell * before * forget * (1 - forget),
                grad_cell * enter * (1 - new**2),
                grad_hidden * shown * leave * (1 - leave),
            ],
            axis=1,
        )
        grad_total = rounded(grad_total, precision)
        grad_hidden = product(grad_total, weights[inputs:], precision, transpose_b=True)
        return (grad_hidden, grad_cell * forget), bits(grad_total)

    zero = jnp.zeros_like(cell[0])
    over_time = (grad_TxBxH, cell, _delayed(cell), gates)
    _, grad_TxBxG = lax.scan(step, (zero, zero), over_time, reverse=True)
    grad = from_bits(grad_TxBxG, weights.dtype).reshape(-1, weights.shape[1])

    def weights_grad(rows):
        return product(flip(rows.reshape(len(grad), -1)), grad, precision)

    return (
        product(grad, weights[:inputs], precision, transpose_b=True).reshape(
            x_TxBxE.shape
        ),
        weights_grad(x_TxBxE),
        weights_grad(rounded(_delayed(hidden), precision)),
        grad.astype(jnp.float32).sum(axis=0),
    )


def _delayed(states_TxBxH: jax.Array) -> jax.Array:
    """The states before: 0 comes first, the last is left out."""
    return jnp.concatenate([jnp.zeros_like(states_TxBxH[:1]), states_TxBxH[:-1]])


lstm.defvjp(_forward, _backward)
