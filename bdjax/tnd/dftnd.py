"""DF-TND: excited from noise alone, a Trojan's neurons raise the target's logit.

Wang et al., "Practical Detection of Trojan Neural Networks: Data-Limited and Data-Free
Cases", ECCV 2020, section 4. White box: needs gradients and activations, no data.
"""

import functools

import jax
import numpy as np
from numpy.typing import ArrayLike

from bdjax import checks, prng
from bdjax.tnd import network as networks
from bdjax.tnd.activation_maximization import ActivationMaximization
from bdjax.tnd.config import DFTNDConfig, Execution
from bdjax.tnd.network import Apply, Network
from bdjax.tnd.references import calibration_for, settings_of
from bdjax.tnd.sign_ascent import NOISE, Seeds, SignAscent
from bdjax.tnd.solver import Problem, Shown, solve, telling
from bdjax.tnd.verdict import DFVerdict
from bdjax.types import PRNGKey, PyTree, UserError
from bdjax.verdicts import Calibration, conclude, preconditions

_PROBES = 128  # of a batch
_MOST_PROBES = 640  # forward passes of one image, a third of the solver's
FEWEST = 5  # classes: of fewer, the gap over the spread is large by arithmetic


def df_tnd(
    apply: Apply,
    variables: PyTree,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    value_range: tuple[float, float],
    features: Apply | None = None,
    images: ArrayLike | None = None,
    config: DFTNDConfig = DFTNDConfig(),
    execution: Execution = Execution(),
    key: PRNGKey | None = None,
    calibration: Calibration | None = None,
    progress: Shown = None,
) -> DFVerdict:
    """Decides without any data whether a network is backdoored.

    Args:
      apply: the network, see :func:`dl_tnd`, also of what is not said here.
      variables: likewise.
      input_shape: ``(H, W, C)``.
      num_classes: K.
      value_range: likewise.
      features: ``features(variables, x) -> activations [N, ...]``, a penultimate
        layer, D neurons after flattening. None takes the logits for neurons, D = K:
        it runs, but nothing is hidden there to be excited, and on our networks it
        detects no better than chance.
      images: ``[N, H, W, C]``, numbers in ``value_range``; clean images to start from
        in place of noise, which the official demonstration does.
      config: the formulation.
      execution: devices and stride; there is one run, hence one device at work.
      key: of the noise; None is ``jax.random.key(0)``.
      calibration: likewise.
      progress: likewise.

    Raises:
      UserError: shape, range, images or network are not as above, or the calibration
        is of another configuration; the message says what was found and what to do.
    """
    settings = settings_of(config) | {"num_classes": num_classes}
    if images is not None:
        settings["images_given"] = True
    calibration, unknown = calibration_for(
        config, calibration, settings=settings, num_classes=num_classes
    )
    reasons: list[str] = []
    notes: list[str] = []
    value_range = networks.check_range(value_range)
    input_shape = _check_shape(input_shape, num_classes)
    net = Network(apply, features, value_range)
    key = prng.root(0) if key is None else key
    x = _seeds(net, input_shape, images, config, key)
    seeds = np.asarray(net.outward(x), x.dtype)
    logits = networks.check_answers(net, variables, seeds, num_classes)
    reasons += networks.doubts(net, variables, seeds, logits)
    if images is not None:
        reasons += preconditions.fills(seeds, value_range)
    count = _neurons(net, variables, x)
    if features is not None:
        shape = jax.eval_shape(features, variables, seeds).shape
        if len(shape) > 2:
            reasons.append(
                f"features have shape {shape}: the penultimate layer, what the last "
                "dense layer reads, is [N, D]"
            )
        reasons += _doubts(net, variables, count, num_classes, input_shape, key)
        if count + num_classes > _MOST_PROBES:
            notes.append(
                f"{count} features are too many to check that the logits are an affine "
                "function of them, as of the penultimate layer's"
            )
    noise = NOISE * jax.random.normal(prng.stream(key, "start"), x.shape)
    weights = np.full((1, count), 1 / count, np.float32)
    cases = Seeds(x[None], np.asarray(noise)[None], weights)
    with telling(progress, "DF-TND") as told:
        state = solve(
            _problem(net, config), cases, variables, execution=execution, progress=told
        )
    mask, pattern = (
        np.broadcast_to(a[0], x.shape) for a in (state.mask, state.pattern)
    )
    found = np.clip((1 - mask) * x + mask * pattern, 0, 1)
    # The same program for both, so that no change is exactly 0.
    increase = np.asarray(_logits(net, variables, found) - _logits(net, variables, x)).T
    if not np.isfinite(increase).all():
        raise UserError(
            "the network gives NaN or infinite logits for recovered images, though not "
            "for the seeds; check its numerical range within value_range"
        )
    kinds = len(config.brightness) if images is None else 1
    scores = label_scores(increase, config, logits.T, kinds)
    if config.normalize != "none" and num_classes < FEWEST:
        reasons.append(
            f"{num_classes} classes are too few for a spread over labels, which takes "
            f"{FEWEST}; give normalize='none' and a threshold of your own"
        )
    if features is None:
        reasons.append(
            "no features were given: the logits stood for neurons, by which Trojans "
            "were not told from clean networks; pass features="
        )
    if not mask.any():
        reasons.append("the penalty left no mask: lower config.sparsity")
    labels = np.arange(num_classes)
    return DFVerdict(
        **conclude(
            float(scores.max()), scores, labels, calibration, reasons, notes, unknown
        ),
        settings=settings,
        label_scores=scores,
        logit_increase=increase,
        weights=state.weights[0],
        masks=np.array(mask),
        patterns=np.asarray(net.outward(pattern)),
        recovered=np.asarray(net.outward(found)),
        seeds=seeds,
        config=config,
    )


# Of modules, not of a call: a jitted method would compile again for every network.
@functools.partial(jax.jit, static_argnums=0)
def _logits(net: Network, variables: PyTree, x: jax.Array) -> jax.Array:
    return net.logits(variables, x)


@functools.partial(jax.jit, static_argnums=0)
def _both(net: Network, variables: PyTree, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return net.activations(variables, x), net.logits(variables, x)


def label_scores(
    increase_KxN: np.ndarray,
    config: DFTNDConfig,
    seed_KxN: np.ndarray | None = None,
    kinds: int = 1,
) -> np.ndarray:
    """A score for each label, from how much its logit rose: float32 ``[K]``.

    Args:
      increase_KxN: of the logits, from seed to recovered image.
      config: unit and score.
      seed_KxN: logits of the seeds, for ``config.normalize="answers"``.
      kinds: of images, as many of each, one kind after the other.
    """
    rises_JxK = increase_KxN.reshape(len(increase_KxN), kinds, -1).mean(2).T
    starts_JxK = np.zeros_like(rises_JxK)
    if config.normalize == "answers":
        assert seed_KxN is not None
        starts_JxK = seed_KxN.reshape(len(seed_KxN), kinds, -1).mean(2).T
    scores_JxK = [
        _scores_of_kind(rise_K, start_K, config)
        for rise_K, start_K in zip(rises_JxK, starts_JxK, strict=True)
    ]
    return np.asarray(np.median(scores_JxK, axis=0), np.float32)


def _scores_of_kind(
    rise_K: np.ndarray, start_K: np.ndarray, config: DFTNDConfig
) -> np.ndarray:
    unit = 1.0
    if config.normalize != "none":  # the start is 0 for "spread"
        unit = max(float(np.hypot(rise_K.std(), start_K.std())), 1e-12)
    if config.score == "gap":
        rise_K = rise_K - [np.delete(rise_K, k).max() for k in range(len(rise_K))]
    return rise_K / unit


def _problem(net: Network, config: DFTNDConfig) -> Problem:
    second = config.second_iterations if config.average else 0
    if config.parity == "official":
        return SignAscent(net, config.iterations, second, config.sparsity)
    return ActivationMaximization(
        net, config.iterations, second, config.sparsity, config.learning_rate,
        config.weight_rate, config.geometry, config.shared_mask,
    )  # fmt: skip


def _check_shape(
    input_shape: tuple[int, int, int], num_classes: int
) -> tuple[int, int, int]:
    given = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    sizes = [n for n in given if isinstance(n, (int, np.integer)) and n > 0]
    if len(given) != 3 or len(sizes) != 3:
        raise UserError(
            f"input_shape is {input_shape}; it must be (H, W, C), three whole numbers "
            "above 0, such as (32, 32, 3)"
        )
    checks.at_least(2, num_classes=num_classes)
    height, width, channels = map(int, given)
    return height, width, channels


def _seeds(
    net: Network,
    input_shape: tuple[int, int, int],
    images: ArrayLike | None,
    config: DFTNDConfig,
    key: PRNGKey,
) -> np.ndarray:
    """Where the search starts, float32 ``[N, H, W, C]`` in [0, 1]."""
    if images is None:
        shape = (len(config.brightness) * config.seeds, *input_shape)
        noise = np.asarray(jax.random.uniform(prng.stream(key, "seeds"), shape))
        with np.errstate(divide="ignore"):
            # Of uniform u, the mean of u ** power is 1 / (1 + power).
            power = 1 / np.repeat(np.array(config.brightness), config.seeds) - 1
        return np.asarray(noise ** power.reshape(-1, 1, 1, 1), np.float32)
    x = networks.check_images(images, net.value_range)
    if x.shape[1:] != input_shape:
        raise UserError(
            f"images have shape {x.shape}; with input_shape {input_shape} they must be "
            f"[N, {', '.join(map(str, input_shape))}]"
        )
    return np.asarray(net.inward(x), np.float32)


def _neurons(net: Network, variables: PyTree, x: np.ndarray) -> int:
    """How many there are, once it is known that they answer with numbers."""
    r_NxD = np.asarray(_both(net, variables, x)[0])
    if not np.isfinite(r_NxD).all():
        raise UserError(
            "features gives NaN or infinite activations for the seeds; check the "
            "weights and value_range"
        )
    return r_NxD.shape[1]


def _doubts(
    net: Network,
    variables: PyTree,
    count: int,
    num_classes: int,
    input_shape: tuple[int, int, int],
    key: PRNGKey,
) -> list[str]:
    """What forbids a verdict on features, by noise of various brightness."""
    # As many as an affine map of so many neurons takes, within reason.
    wanted = min(count + max(8, num_classes) + 16, _MOST_PROBES)
    batches = -(-wanted // _PROBES)
    shape = batches, _PROBES, *input_shape
    # Dark noise and bright, in no order, as some are kept apart.
    power = 4.0 ** np.sin(np.arange(batches * _PROBES)).reshape(*shape[:2], 1, 1, 1)
    x = jax.random.uniform(prng.stream(key, "probes"), shape) ** power
    answers = [jax.device_get(_both(net, variables, some)) for some in x]
    r_NxD, logits_NxK = (np.concatenate(some) for some in zip(*answers, strict=True))
    if r_NxD.shape == logits_NxK.shape and np.allclose(r_NxD, logits_NxK):
        return ["features are the logits; give the penultimate layer"]
    dead = preconditions.alive(r_NxD)
    return dead or preconditions.penultimate(r_NxD, logits_NxK)
