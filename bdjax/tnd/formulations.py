"""DL-TND's formulations: from a network and images to what a verdict says of labels."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from bdjax import prng
from bdjax.tnd import scores
from bdjax.tnd.alternating import Alternating
from bdjax.tnd.config import DLTNDConfig
from bdjax.tnd.minimal_mask import Case, Images, MinimalMask, State
from bdjax.tnd.network import Network
from bdjax.tnd.perturb import perturb
from bdjax.tnd.solver import Problem
from bdjax.types import PRNGKey, PyTree, UserError


class Solution(NamedTuple):
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


def ours(
    net: Network,
    label_K: np.ndarray,
    shared: Images,
    config: DLTNDConfig,
    run: Run,
    key: PRNGKey | None,
) -> Solution:
    """The smallest universal perturbations, sparse and dense, and per-image ones."""
    count, image = len(label_K), shared.x.shape[1:]
    problem = functools.partial(
        MinimalMask, net, early_exit=config.early_exit,
        channels=image[2] if config.mask == "channel" else 1,
    )  # fmt: skip
    universal = problem(True, config.iterations, config.success, config.learning_rate)
    per_image = problem(
        False, config.image_iterations, 1.0, config.image_learning_rate, pace=1.2
    )
    starts = _starts(net, image, config.restarts, key)
    # By norm, then label, then restart.
    every = Case(
        np.tile(np.repeat(label_K, config.restarts), 2),
        np.repeat([False, True], count * config.restarts),
        np.tile(starts, (2 * count, 1, 1, 1)),
    )
    grey = np.repeat(starts[:1], count, axis=0)
    state, alone = run(
        [(universal, every), (per_image, Case(label_K, np.zeros(count, bool), grey))]
    )
    masks, patterns, size = _best_of_restarts(state, config.restarts)
    sizes = {"sparse": size[:count], "dense": size[count:]}
    image_area = _of_others(np.asarray(alone.size), label_K, shared.y)
    away = {name: scores.outlier(size_K) for name, size_K in sizes.items()}
    pick = np.where(away["dense"] > away["sparse"], count, 0) + np.arange(count)
    mask, pattern = masks[pick], patterns[pick]
    theirs, _ = _answers(
        net, shared.variables, shared.x, alone.best_mask, alone.best_pattern
    )
    sparse = masks[:count], patterns[:count]
    similarity, _ = _compare(net, shared, label_K, sparse, theirs)
    _, landed = _answers(net, shared.variables, shared.x, mask, pattern)
    label_scores = scores.label_scores(
        config.score, sizes, similarity, image_area, config.quantile
    )
    return Solution(
        label_scores=label_scores,
        similarity=similarity,
        mask_area=sizes["sparse"],
        mask=np.broadcast_to(mask[:, 0], (count, *image)).copy(),
        pattern=np.asarray(net.outward(pattern[:, 0])),
        success=_share(np.asarray(landed), label_K, shared.y),
        image_area=image_area,
        sizes=sizes,
    )


def _best_of_restarts(
    state: State, restarts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every label and norm, the smallest mask (0 without), its pattern, its size."""
    if np.isnan(state.mask).any():
        raise UserError(
            "the network gives NaN for perturbed images, though not for the given "
            "ones; check its numerical range within value_range"
        )
    size = np.asarray(state.size).reshape(-1, restarts)
    best = np.arange(len(size)) * restarts + size.argmin(1)
    masks, patterns = (
        np.asarray(a)[best] for a in (state.best_mask, state.best_pattern)
    )
    masks[~np.isfinite(size.min(1))] = 0
    return masks, patterns, size.min(1)


def _starts(
    net: Network, image: tuple[int, ...], restarts: int, key: PRNGKey | None
) -> np.ndarray:
    """First patterns, float32 ``[R, H, W, C]``: grey, and then noise."""
    key = prng.stream(prng.root(0) if key is None else key, "restarts")
    noise = np.array(jax.random.uniform(key, (restarts, *image), maxval=net.scale))
    noise[0] = net.scale / 2
    return noise


def published(
    net: Network,
    label_K: np.ndarray,
    shared: Images,
    config: DLTNDConfig,
    run: Run,
    key: PRNGKey | None,
) -> Solution:
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
    theirs, _ = _answers(net, shared.variables, shared.x, alone.mask, alone.pattern)
    for s in range(config.searches):
        solution = state.masks[:, s], state.patterns[:, s]
        similarity, to = _compare(net, shared, label_K, solution, theirs)
        similar.append(similarity)
        landed.append(to)
    similarity_KxSxN = np.stack(similar, 1)
    pick = scores.smallest_successful(area_KxS, state.hits)
    if config.score == "official":
        pick = scores.rescored(similarity_KxSxN, area_KxS, pick, config.quantile)
    rows = np.arange(len(label_K))
    similarity = similarity_KxSxN[rows, pick]
    return Solution(
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
    theirs: jax.Array,
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities ``[K, N]``; classes ``[K, N]`` under the universal perturbation."""
    ours, landed = _answers(net, shared.variables, shared.x, *universal)
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


FORMULATIONS = {"bdjax": ours, "paper": published, "official": published}
