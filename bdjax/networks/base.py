"""What the rest of the house sees of a network that somebody brings."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from bdjax.types import PyTree, UserError

Ask = Callable[[np.ndarray], np.ndarray]
"""Inputs ``[N, ...]`` as the network has them to its answers, both NumPy."""

Apply = Callable[[PyTree, jax.Array], jax.Array]
"""``apply(variables, x [N, ...]) -> float [N, C]``; hashable, traceable by JAX."""

Layout = Literal["NCHW", "NHWC"]


class UnreachedError(UserError):
    """A network behind an address does not answer at all, whatever it is asked."""


class Features(NamedTuple):
    """The penultimate layer of a network, if it was found.

    Attributes:
      apply: ``apply(variables, x) -> float [N, D]``, what the last dense layer reads;
        None if it was not found.
      layer: what the network calls it, such as ``"fc2 (input)"``.
      why: a sentence on why there is none; "" if there is one.
      notes: what a reader must know of the network that only running it tells.
    """

    apply: Apply | None
    layer: str = ""
    why: str = ""
    notes: tuple[str, ...] = ()


def no_features(why: str) -> Features:
    """Features that could not be had."""
    return Features(None, "", why)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raises what happened in a network that JAX called back, without JAX's words.

    JAX makes errors of several classes of it, with the text of a traceback; a Ctrl-C
    that came meanwhile is one of these, too.

    Raises:
      UserError: the network failed.
      KeyboardInterrupt: see above.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        last = r"\n[\w.]*(UserError|KeyboardInterrupt): (.*?)'?\s*$"
        found = re.search(last, str(error))
        if isinstance(error, UserError) or not found:
            raise
        if found[1] == "KeyboardInterrupt":
            raise KeyboardInterrupt from error
        raise UserError(found[2]) from error


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A network of any framework, in inference mode.

    ``ask`` and ``apply`` answer alike. Where the network ends in a softmax that could
    be left out, they give what it reads, and a note says so.

    Attributes:
      name: of the file, object or address, for people.
      kind: of what it is made, such as ``"PyTorch module"`` or ``"ONNX"``.
      ask: float32 ``[N, *shape]`` in the network's own layout to answers: float
        ``[N, C]``, or whole numbers ``[N]`` if it says labels only.
      apply: the same for JAX, with gradients in ``x``; None if it only answers.
      variables: what ``apply`` and features are called with; a pytree of arrays, empty
        where they hold their own.
      find_features: ``find_features(shape, layer) -> Features``: the penultimate layer,
        or what ``layer`` names; ``shape`` is of one input in the own layout.
      layout: of images, if the format settles it; None if it does not.
      shape: of one input in the own layout, as far as it is known; None for an axis
        that is free, and for the whole if nothing is known.
      num_classes: C, if it is known without asking.
      weights: by name, if they can be had; else None.
      sequential: whether only one device may ask it at a time.
      notes: what a reader must know, one sentence each.
    """

    name: str
    kind: str
    ask: Ask
    apply: Apply | None = None
    variables: PyTree = dataclasses.field(default_factory=dict)
    find_features: Callable[[tuple[int, ...], str | None], Features] = (
        lambda shape, layer: no_features("it only answers")
    )
    layout: Layout | None = None
    shape: tuple[int | None, ...] | None = None
    num_classes: int | None = None
    weights: dict[str, np.ndarray] | None = None
    sequential: bool = False
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int | None:
        """How many there are, if weights can be had."""
        if self.weights is None:
            return None
        return sum(int(a.size) for a in self.weights.values())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Web:
    """How an HTTP endpoint is asked, JSON both ways.

    Attributes:
      request: field of the request's body that holds the inputs, nested lists; dots go
        deeper, and "" makes the lists the whole body.
      answer: field of the answer that holds one list of numbers (or one label) an
        input, likewise.
      batch: inputs of a request, at most.
      timeout: seconds until an answer.
      retries: of a request that failed by the network or with 429, 502, 503 or 504,
        with backoff; ``Retry-After`` is kept to.
      rate: requests a second, at most; 0 for no bound.
      auth_env: name of an environment variable with the value of the header
        ``auth_header``; "" sends none.
      auth_header: see there.
    """

    request: str = "instances"
    answer: str = "predictions"
    batch: int = 64
    timeout: float = 30.0
    retries: int = 4
    rate: float = 0.0
    auth_env: str = ""
    auth_header: str = "Authorization"


class Given(NamedTuple):
    """What a user says of a network beside it.

    Attributes:
      weights: path of a file with its weights; None for none.
      variables: of a JAX function or Linen module, a pytree; None for none.
      web: of an HTTP endpoint.
      shapes: that one input may have, without N, the likeliest first: for functions
        of JAX, which say so themselves as little as where it is traced with.
    """

    weights: str | None = None
    variables: Any = None
    web: Web = Web()
    shapes: tuple[tuple[int, ...], ...] = ()

    def check_alone(self, name: object) -> None:
        """Refuses weights for what has its own, rather than leaving them unread.

        Raises:
          UserError: there are some.
        """
        if self.weights is not None:
            raise UserError(f"{name} holds its weights; leave weights out")
