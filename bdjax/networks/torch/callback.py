"""A PyTorch function as one of JAX's: a callback, and torch's autograd behind it."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.networks.base import Apply
from bdjax.types import PyTree, UserError

Run = Callable[[Any], Any]
"""A tensor ``[N, ...]`` to a tensor ``[N, C]``, differentiable by torch."""


class Bridge:
    """One function of PyTorch, asked by NumPy and by JAX.

    XLA calls back on threads of its own, so one call at a time is let through.
    """

    def __init__(
        self,
        run: Run,
        dtype: Any,
        device: Any,
        bounds: tuple[int, int],
        lock: threading.Lock,
    ):
        """Makes one.

        Args:
          run: inputs of ``dtype`` on ``device`` to answers.
          dtype: floating dtype of torch.
          device: of torch.
          bounds: least and greatest number of inputs that ``run`` takes at once.
          lock: of the network, which other functions of it take, too.
        """
        self.run, self.dtype, self.device, self.bounds = run, dtype, device, bounds
        self._lock = lock
        self._widths: dict[tuple[int, ...], int] = {}
        # What a gradient goes back through, kept from the answer just given.
        self._last: tuple[np.ndarray, list] | None = None

    def ask(self, x: np.ndarray) -> np.ndarray:
        """Answers of inputs ``[N, ...]``: float32 ``[N, C]``, or whole numbers."""
        import torch

        with self._lock, torch.inference_mode(), in_one_line(x.shape):
            outs = [self._answer(rows) for rows in self._blocks(x)]
            return to_numpy(torch.cat(outs)[: len(x)])

    def answer(self, x: np.ndarray) -> np.ndarray:
        """As :meth:`ask`, and keeps what :meth:`pull` of the same inputs needs."""
        import torch

        with self._lock, torch.enable_grad(), in_one_line(x.shape):
            self._last = None
            pairs = self._tape(x)
            self._last = x, pairs
            return to_numpy(torch.cat([out for _, out in pairs])[: len(x)])

    def pull(self, x: np.ndarray, g_NxC: np.ndarray) -> np.ndarray:
        """Gradient in inputs ``[N, ...]`` of the answers' product with ``g_NxC``."""
        import torch

        with self._lock, torch.enable_grad(), in_one_line(x.shape):
            last, self._last = self._last, None
            same = last is not None and np.array_equal(last[0], x)
            pairs = last[1] if same and last else self._tape(x)
            g = torch.zeros((sum(len(out) for _, out in pairs), g_NxC.shape[1]))
            g[: len(x)] = torch.from_numpy(g_NxC)
            grads = []
            for rows, out in pairs:
                cotangent, g = g[: len(out)].to(out), g[len(out) :]
                (grad,) = torch.autograd.grad(out, rows, cotangent, allow_unused=True)
                grads.append(torch.zeros_like(rows) if grad is None else grad)
            return to_numpy(torch.cat(grads)[: len(x)])

    def width(self, shape: tuple[int, ...]) -> int:
        """C of inputs ``[N, *shape]``, found by asking once."""
        if shape not in self._widths:
            out = self.ask(np.zeros((2, *shape), np.float32))
            if not np.issubdtype(out.dtype, np.floating):
                raise UserError("the network answers labels, which have no gradient")
            self._widths[shape] = out.shape[1]
        return self._widths[shape]

    def apply(self) -> Apply:
        """``apply(variables, x)`` of JAX, with gradients; it needs no variables."""

        def into(method: Callable, ndims: tuple[int, ...]) -> Callable:
            # Axes that vmap adds are in front of all arguments, and go into one.
            def call(*args: Any) -> np.ndarray:
                lead = args[0].shape[: args[0].ndim - ndims[0]]
                flat = [
                    # A copy: JAX's own buffers cannot be written to.
                    np.array(a, np.float32).reshape(-1, *a.shape[a.ndim - n + 1 :])
                    for a, n in zip(args, ndims, strict=True)
                ]
                out = method(*flat)
                n = args[0].shape[len(lead)]
                return out.reshape(*lead, n, *out.shape[1:]).astype(np.float32)

            return call

        @jax.custom_vjp
        def function(x: jax.Array) -> jax.Array:
            return called(self.ask, x)

        def called(method: Callable, x: jax.Array) -> jax.Array:
            shape = jax.ShapeDtypeStruct((len(x), self.width(x.shape[1:])), jnp.float32)
            run = into(method, (x.ndim,))
            return jax.pure_callback(run, shape, x, vmap_method="broadcast_all")

        def forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return called(self.answer, x), x

        def backward(x: jax.Array, g_NxC: jax.Array) -> tuple[jax.Array]:
            run = into(self.pull, (x.ndim, 2))
            like = jax.ShapeDtypeStruct(x.shape, jnp.float32)
            return (
                jax.pure_callback(run, like, x, g_NxC, vmap_method="broadcast_all"),
            )

        function.defvjp(forward, backward)

        def apply(variables: PyTree, x: jax.Array) -> jax.Array:
            del variables
            return function(jnp.asarray(x, jnp.float32))

        return apply

    def _blocks(self, x: np.ndarray) -> list:
        """Tensors of as many rows as are taken at once, the last one filled up."""
        import torch

        low, high = self.bounds
        x = np.ascontiguousarray(x, np.float32)
        blocks = [x[i : i + high] for i in range(0, len(x), high)]
        if blocks and len(blocks[-1]) < low:
            filling = np.repeat(blocks[-1][-1:], low - len(blocks[-1]), axis=0)
            blocks[-1] = np.concatenate([blocks[-1], filling])
        # Copied by ``to`` or not: nothing is written into them.
        return [torch.tensor(b, dtype=self.dtype, device=self.device) for b in blocks]

    def _tape(self, x: np.ndarray) -> list:
        """Pairs of inputs and their answers, that a gradient can go back through."""
        rows = [r.requires_grad_() for r in self._blocks(x)]
        return [(r, self._answer(r)) for r in rows]

    def _answer(self, rows: Any) -> Any:
        out = self.run(rows)
        return out[:, None] if out.ndim == 1 and out.is_floating_point() else out


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as NumPy has it, floats as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


class in_one_line:  # noqa: N801
    """Turns errors of torch into ``UserError``, and says of which inputs."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"PyTorch's network failed on inputs of shape {list(self.shape)}: "
                f"{said[:300]}"
            ) from error


def _is_news(record: logging.LogRecord) -> bool:
    told = UserError | KeyboardInterrupt
    return not (record.exc_info and isinstance(record.exc_info[1], told))


# JAX prints the traceback of what a callback raises; these are told by who asked.
logging.getLogger("jax._src.callback").addFilter(_is_news)
