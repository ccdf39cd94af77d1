"""DL-TND: a Trojan's universal and per-image perturbations agree, and it is small.

Wang et al., "Practical Detection of Trojan Neural Networks: Data-Limited and Data-Free
Cases", ECCV 2020. White box: needs gradients and a few clean images a class.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from numpy.typing import ArrayLike

from bdjax import prng
from bdjax.tnd import network as networks
from bdjax.tnd import scores
from bdjax.tnd.alternating import Alternating
from bdjax.tnd.config import DLTNDConfig, Execution
from bdjax.tnd.loop import Problem, Progress, solve_all
from bdjax.tnd.network import Apply, Network
from bdjax.tnd.perturb import perturb
from bdjax.tnd.smallest import Case, Images, Smallest
from bdjax.tnd.verdict import Verdict
from bdjax.types import PRNGKey, PyTree, UserError


def dl_tnd(
    apply: Apply,
    variables: PyTree,
    images: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    value_range: tuple[float, float],
    features: Apply | None = None,
    config: DLTNDConfig = DLTNDConfig(),
    execution: Execution = Execution(),
    key: PRNGKey | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Decides from a few clean images whether a network is backdoored.

    Networks of one architecture share a compilation if they come with the same
    ``apply`` object (and the same numbers of images and classes).

    Args:
      apply: ``apply(variables, x [N, H, W, C] in value_range) -> logits [N, K]``, in
        inference mode, traceable by JAX; nothing else is assumed.
      variables: any pytree.
      images: ``[N, H, W, C]``, numbers in ``value_range``; the caller's choice, at
        least one of each class; more make the universal perturbation more universal.
      labels: ``[N]``, whole numbers from 0 to ``num_classes - 1``.
      num_classes: K.
      value_range: least and greatest pixel that the network takes.
      features: ``features(variables, x) -> [N, ...]``, a penultimate layer; for
        ``config.representation="features"``.
      config: the formulation.
      execution: batches and devices.
      key: of the patterns that restarts begin with; None is ``jax.random.key(0)``.
        Without restarts nothing is random.
      progress: called as ``progress(done, total)``, iterations.

    Raises:
      UserError: images, labels, range or network are not as above; the message says
        what was found and what to do.

    Warns:
      UserWarning: the network misclassifies many of the images.
    """
    value_range = networks.check_range(value_range)
    x = networks.check_images(images, value_range)
    y = networks.check_labels(labels, x, num_classes)
    if config.representation == "features" and features is None:
        raise UserError(
            "config.representation is 'features' and none were given; pass features="
        )
    used = features if config.representation == "features" else None
    net = Network(apply, used, value_range, config.pixel_scale)
    notes: list[str] = []
    label_K = _candidates(y, num_classes, config, notes)
    logits = networks.check_answers(net, variables, x, num_classes)
    accuracy = float((logits.argmax(1) == y).mean())
    if accuracy < config.min_accuracy:
        notes.append(
            f"the network classifies {accuracy:.0%} of the given images right, below "
            f"{config.min_accuracy:.0%}: check labels, value_range and preprocessing"
        )
        warnings.warn(notes[-1], UserWarning, stacklevel=2)
    shared = Images(variables, np.asarray(net.inward(x), np.float32), y)
    run = functools.partial(
        solve_all, shared=shared, execution=execution, progress=progress
    )
    formulate = _ours if config.parity == "bdjax" else _published
    found = formulate(net, label_K, shared, config, run, key)
    above_K = found.label_scores > config.threshold
    return Verdict(
        score=float(found.label_scores.max()),
        threshold=config.threshold,
        is_trojaned=bool(above_K.any()),
        target_labels=tuple(int(k) for k in label_K[above_K]),
        labels=label_K,
        accuracy=accuracy,
        config=config,
        notes=tuple(notes),
        **found._asdict(),
    )


class _Found(NamedTuple):
    """The fields of a verdict that the formulations make each in its own way."""

    label_scores: np.ndarray
    similarity: np.ndarray
    mask_area: np.ndarray
    mask: np.ndarray
    pattern: np.ndarray
    success: np.ndarray
    image_area: np.ndarray
    sizes: dict[str, np.ndarray]


Run = Callable[[list[tuple[Problem, PyTree]]], list[Any]]


def _candidates(
    y: np.ndarray, num_classes: int, config: DLTNDConfig, notes: list[str]
) -> np.ndarray:
    missing = np.setdiff1d(np.arange(num_classes), y)
    if missing.size:
        line = f"no image of classes {missing.tolist()}"
        if config.missing == "error":
            raise UserError(
                f"{line}; give at least one each, or skip them as candidates with "
                "config.missing='skip'"
            )
        notes.append(f"{line}: they are no candidates for the target label")
    label_K = np.unique(y).astype(np.int32)
    if len(label_K) < 2:
        raise UserError(
            f"all images are of class {label_K[0]}; give images of two classes or more"
        )
    return label_K


def _ours(
    net: Network,
    label_K: np.ndarray,
    shared: Images,
    config: DLTNDConfig,
    run: Run,
    key: PRNGKey | None,
) -> _Found:
    """The smallest universal perturbations, sparse and dense, and per-image ones."""
    count, restarts = len(label_K), config.restarts
    channels = shared.x.shape[3] if config.mask == "channel" else 1
    universal = Smallest(
        net, True, config.iterations, config.success, config.learning_rate,
        early_exit=config.early_exit, channels=channels,
    )  # fmt: skip
    image = Smallest(
        net, False, config.image_iterations, 1.0, config.image_learning_rate,
        pace=1.2, early_exit=config.early_exit, channels=channels,
    )  # fmt: skip
    starts = _starts(net, shared.x.shape[1:], restarts, key)
    # By norm, then label, then restart.
    both = Case(
        np.tile(np.repeat(label_K, restarts), 2),
        np.repeat([False, True], count * restarts),
        np.tile(starts, (2 * count, 1, 1, 1)),
    )
    grey = np.repeat(starts[:1], count, axis=0)
    state, alone = run(
        [(universal, both), (image, Case(label_K, np.zeros(count, bool), grey))]
    )
    of_restarts = state.size.reshape(2 * count, restarts)
    best = np.arange(2 * count) * restarts + of_restarts.argmin(1)
    masks, patterns = state.best_mask[best], state.best_pattern[best]
    entries = masks[0].size
    greatest = np.repeat([entries, entries**0.5], count)
    size = of_restarts.min(1)
    size = np.where(np.isfinite(size), size, greatest).astype(np.float32)
    sizes = {"sparse": size[:count], "dense": size[count:]}
    area = np.where(np.isfinite(alone.size), alone.size, entries)
    image_area = _of_others(area, label_K, shared.y)
    away = {name: scores.outlier(size_K) for name, size_K in sizes.items()}
    pick = np.where(away["dense"] > away["sparse"], count, 0) + np.arange(count)
    mask, pattern = masks[pick], patterns[pick]
    similarity, _ = _compare(
        net, shared, label_K,
        (masks[:count], patterns[:count]),
        (alone.best_mask, alone.best_pattern),
    )  # fmt: skip
    _, landed = _answers(net, shared.variables, shared.x, mask, pattern)
    label_scores = scores.label_scores(
        config.score, sizes, similarity, image_area, config.quantile
    )
    return _Found(
        label_scores=label_scores,
        similarity=similarity,
        mask_area=sizes["sparse"],
        mask=np.broadcast_to(mask[:, 0], (count, *shared.x.shape[1:])).copy(),
        pattern=np.asarray(net.outward(pattern[:, 0])),
        success=_share(np.asarray(landed), label_K, shared.y),
        image_area=image_area,
        sizes=sizes,
    )


def _starts(
    net: Network, image: tuple[int, ...], restarts: int, key: PRNGKey | None
) -> np.ndarray:
    """First patterns, float32 ``[R, H, W, C]``: grey, and then noise."""
    key = prng.stream(prng.root(0) if key is None else key, "restarts")
    noise = np.array(jax.random.uniform(key, (restarts, *image), maxval=net.scale))
    noise[0] = net.scale / 2
    return noise


def _published(
    net: Network,
    label_K: np.ndarray,
    shared: Images,
    config: DLTNDConfig,
    run: Run,
    key: PRNGKey | None,
) -> _Found:
    """The paper's two problems, and the similarity of what they end in."""
    del key  # both begin without a mask
    official = config.parity == "official"
    universal = Alternating(
        net, True, config.iterations, config.searches, config.success,
        config.learning_rate, official,
    )  # fmt: skip
    image = Alternating(
        net, False, config.image_iterations, 1, 1.0, config.image_learning_rate,
        official, first=1.0,
    )  # fmt: skip
    state, alone = run([(universal, label_K), (image, label_K)])
    axes = (-3, -2, -1)
    area_KxS = state.masks[:, :, 0].sum(axes)
    similar, landed = [], []
    for s in range(config.searches):
        solution = state.masks[:, s], state.patterns[:, s]
        similarity, to = _compare(
            net, shared, label_K, solution, (alone.mask, alone.pattern)
        )
        similar.append(similarity)
        landed.append(to)
    similarity_KxSxN = np.stack(similar, 1)
    pick = scores.smallest_successful(area_KxS, state.hits)
    if config.score == "official":
        pick = scores.rescored(similarity_KxSxN, area_KxS, pick, config.quantile)
    rows = np.arange(len(label_K))
    similarity = similarity_KxSxN[rows, pick]
    return _Found(
        label_scores=scores.quantile(similarity, config.quantile),
        similarity=similarity,
        mask_area=area_KxS[rows, pick],
        mask=state.masks[rows, pick, 0],
        pattern=np.asarray(net.outward(state.patterns[rows, pick, 0])),
        success=_share(np.stack(landed, 1)[rows, pick], label_K, shared.y),
        image_area=_of_others(alone.mask.sum(axes), label_K, shared.y),
        sizes={},
    )


@functools.partial(jax.jit, static_argnums=0)
def _answers(
    net: Network, variables: PyTree, x: jax.Array, mask: jax.Array, pattern: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Activations ``[K, N, D]`` and classes ``[K, N]`` of perturbed images."""
    perturbed = perturb(x, mask, pattern)
    return (
        net.activations(variables, perturbed),
        net.logits(variables, perturbed).argmax(-1),
    )


def _compare(
    net: Network,
    shared: Images,
    label_K: np.ndarray,
    universal: tuple[np.ndarray, np.ndarray],
    alone: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities ``[K, N]``; classes ``[K, N]`` under the universal perturbation."""
    ours, landed = _answers(net, shared.variables, shared.x, *universal)
    theirs, _ = _answers(net, shared.variables, shared.x, *alone)
    similarity = np.asarray(optax.cosine_similarity(ours, theirs, epsilon=1e-12))
    return _of_others(similarity, label_K, shared.y), np.asarray(landed)


def _of_others(
    values_KxN: np.ndarray, label_K: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """NaN where an image has the label itself."""
    return np.where(label_K[:, None] == y, np.nan, values_KxN).astype(np.float32)


def _share(landed_KxN: np.ndarray, label_K: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of other classes' images that land on the label: float32 ``[K]``."""
    hit = (landed_KxN == label_K[:, None]).astype(np.float32)
    return np.nanmean(_of_others(hit, label_K, y), axis=1)
