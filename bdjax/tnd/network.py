"""The network under test: what is asked of it, and mistakes found before it runs."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bdjax import checks
from bdjax.checks import digits, keeps_to
from bdjax.types import PyTree, UserError
from bdjax.verdicts import preconditions

_GREATEST_SPREAD = 600.0  # of logits; reference networks' reach some dozens

Apply = Callable[[PyTree, jax.Array], jax.Array]
"""``apply(variables, x [N, H, W, C]) -> logits [N, T]``, traceable by JAX."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A stranger's network; equal functions and ranges share compilations.

    Attributes:
      apply: as :data:`Apply`.
      features: ``features(variables, x) -> activations [N, ...]``; None for logits.
      value_range: least and greatest value of an image.
      scale: solvers work on images mapped to [0, scale].
    """

    apply: Apply
    features: Apply | None
    value_range: tuple[float, float]
    scale: float = 1.0

    def inward(self, x: ArrayLike) -> jax.Array:
        """Images from the value range to the solver's [0, scale]."""
        low, high = self.value_range
        return (jnp.asarray(x) - low) * (self.scale / (high - low))

    def outward(self, x: ArrayLike) -> jax.Array:
        """Images from the solver's [0, scale] to the value range."""
        low, high = self.value_range
        return low + jnp.asarray(x) * ((high - low) / self.scale)

    def logits(self, variables: PyTree, x: jax.Array) -> jax.Array:
        """Of images ``[..., H, W, C]`` in the solver's range: float32 ``[..., T]``."""
        return self._ask(self.apply, variables, x)

    def activations(self, variables: PyTree, x: jax.Array) -> jax.Array:
        """Of the same images, float32 ``[..., D]``: features, or logits without."""
        return self._ask(self.features or self.apply, variables, x)

    def _ask(self, function: Apply, variables: PyTree, x: jax.Array) -> jax.Array:
        # One batch for all labels: nothing but the batch axis grows, so that not even
        # a network of grouped convolutions or batch statistics sees another axis.
        flat = self.outward(x).reshape(-1, *x.shape[-3:])
        flat = flat.astype(x.dtype)
        answers = function(variables, flat)
        answers = answers.astype(jnp.promote_types(answers.dtype, jnp.float32))
        return answers.reshape(*x.shape[:-3], -1)


def check_range(value_range: tuple[float, float]) -> tuple[float, float]:
    """The range as floats.

    Raises:
      UserError: it is empty or not finite.
    """
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise UserError(
            f"value_range is {value_range}; it must be two finite numbers, the less "
            "one first, such as (0.0, 255.0)"
        )
    return low, high


def check_images(images: ArrayLike, value_range: tuple[float, float]) -> np.ndarray:
    """Images as float32 ``[N, H, W, C]``; what rounding put out of range is clipped.

    Raises:
      UserError: they have another shape or type, are not finite or out of range.
    """
    try:
        x = np.asarray(images)
    except ValueError as error:
        raise UserError("images differ in shape; give one array") from error
    if x.ndim != 4 or 0 in x.shape:
        raise UserError(
            f"images have shape {x.shape}; they must be [N, H, W, C], channels last, "
            "at least one"
        )
    if x.dtype.kind not in "uif":
        raise UserError(f"images are {x.dtype}; they must be numbers")
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise UserError("images hold NaN or infinite values; give finite pixels")
    low, high = value_range
    if not keeps_to(x.min(), x.max(), value_range):
        raise UserError(
            f"images lie in [{digits(x.min())}, {digits(x.max())}], outside "
            f"value_range ({digits(low)}, {digits(high)}); give the range that the "
            "network takes, or rescale"
        )
    return x.clip(low, high)


def float_of(variables: PyTree) -> np.dtype:
    """What solvers compute in: float32, or float64 where the weights are that."""
    leaves = [a for a in jax.tree.leaves(variables) if hasattr(a, "dtype")]
    double = any(leaf.dtype == np.float64 for leaf in leaves)
    return jax.dtypes.canonicalize_dtype(np.float64 if double else np.float32)


def check_labels(labels: ArrayLike, images: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels as int32 ``[N]``.

    Raises:
      UserError: their number, type or range is wrong, or there are too few classes.
    """
    checks.at_least(2, num_classes=num_classes)
    y = np.asarray(labels)
    if y.shape != (len(images),) or y.dtype.kind not in "ui":
        raise UserError(
            f"labels are {y.dtype} of shape {y.shape}; they must be whole numbers of "
            f"shape ({len(images)},), one an image"
        )
    if y.min() < 0 or y.max() >= num_classes:
        bad = y[(y < 0) | (y >= num_classes)][0]
        raise UserError(
            f"labels hold {bad}; with num_classes {num_classes} they are 0 to "
            f"{num_classes - 1}"
        )
    return y.astype(np.int32)


def check_answers(
    network: Network, variables: PyTree, images: np.ndarray, num_classes: int
) -> np.ndarray:
    """Asks the network the images, and returns its logits, float32 ``[N, T]``.

    Raises:
      UserError: JAX cannot trace it, or it answers in another shape, with NaN, or the
        same for all images.
    """
    shape = jax.ShapeDtypeStruct(images.shape, images.dtype)
    for name in ("apply", "features"):
        function = getattr(network, name)
        if function is not None:
            answer = _trace(name, function, variables, shape)
            if name == "apply" and answer.shape != (len(images), num_classes):
                raise UserError(
                    f"apply gives shape {answer.shape} for {len(images)} images; it "
                    f"must be ({len(images)}, {num_classes}), logits of num_classes"
                )
            if name == "features" and answer.shape[:1] != (len(images),):
                raise UserError(
                    f"features gives shape {answer.shape} for {len(images)} images; "
                    "its first axis must be theirs"
                )
    logits = np.asarray(jax.jit(network.apply)(variables, images))
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).any(1).sum())
        raise UserError(
            f"apply gives NaN or infinite logits for {bad} of {len(images)} images; "
            "check the weights and value_range"
        )
    spread = np.ptp(logits.astype(np.float64), axis=0).max()
    if len(images) > 1 and spread <= 1e-6 * max(1.0, np.abs(logits).max()):
        raise UserError(
            "apply gives the same logits for all images; a constant network has "
            "nothing to detect: check weights, value_range and preprocessing"
        )
    return logits


def doubts(
    network: Network, variables: PyTree, images: np.ndarray, logits: np.ndarray
) -> list[str]:
    """What forbids a verdict on a network: unsteady answers, and probabilities."""
    apply = jax.jit(network.apply)
    reasons = preconditions.steady(
        lambda x: np.asarray(apply(variables, x)), images, logits
    )
    kind = preconditions.kind_of(logits)
    if kind in ("probabilities", "percentages", "values in [0, 1]"):
        reasons.append(
            f"apply seems to give {kind}, whose gradients vanish where the network is "
            "sure; give logits, from before the softmax or sigmoid"
        )
    if (spread := float(logits.std())) > _GREATEST_SPREAD:
        reasons.append(
            f"the logits spread by {spread:.3g}, as of no network that was trained on "
            "such images: check value_range, and whether it takes pixels of 0 to 1 or "
            "0 to 255"
        )
    return reasons


def _trace(
    name: str, function: Apply, variables: PyTree, shape: jax.ShapeDtypeStruct
) -> jax.ShapeDtypeStruct:
    try:
        hash(function)
    except TypeError as error:
        raise UserError(
            f"{name} is a {type(function).__name__} that cannot be hashed, and "
            "compiled programs are kept by it; wrap it in a function"
        ) from error

    def total(x: jax.Array) -> jax.Array:
        return function(variables, x).astype(jnp.float32).sum()

    try:
        answer = jax.eval_shape(function, variables, shape)
        if isinstance(answer, jax.ShapeDtypeStruct):
            jax.eval_shape(jax.grad(total), shape)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's function may do
        text = " ".join(str(error).split())
        raise UserError(
            f"{name} cannot be traced or differentiated by JAX for images of shape "
            f"{shape.shape} ({type(error).__name__}: {text[:200]}). "
            f"{_remedy(name, error)}"
        ) from error
    if not isinstance(answer, jax.ShapeDtypeStruct):
        raise UserError(
            f"{name} returns {type(answer).__name__}; it must return one array"
        )
    if not jnp.issubdtype(answer.dtype, jnp.floating):
        raise UserError(f"{name} returns {answer.dtype}; it must return floats")
    return answer


def _remedy(name: str, error: Exception) -> str:
    """What most likely went wrong, by the kind of the error."""
    kind, text = type(error).__name__, str(error)
    if "required positional argument" in text or "required keyword-only" in text:
        return (
            f"{name} is called as {name}(variables, x) and wants more; fill that in "
            "with functools.partial, such as partial(module.apply, train=False)"
        )
    if "positional argument" in text and "given" in text:
        return f"{name} is called as {name}(variables, x), with two arguments"
    if "Rng" in kind or "PRNG" in text:
        return (
            f"{name} wants a random key, which only training needs (dropout): put the "
            "network into inference mode, such as partial(module.apply, train=False)"
        )
    if kind in ("ModifyScopeVariableError", "ScopeCollectionNotFound"):
        return (
            f"{name} changes or lacks variables, such as batch statistics: put the "
            "network into inference mode and give all of its collections"
        )
    if isinstance(error, jax.errors.JAXTypeError) or "Tracer" in text:
        return (
            "This detector needs gradients by JAX; for a network that only answers, "
            "such as one that calls NumPy, use the black-box detector, bdjax.mntd"
        )
    return (
        f"Check that {name} takes images of this shape and these variables; for a "
        "network that JAX cannot run at all, use the black-box detector, bdjax.mntd"
    )
