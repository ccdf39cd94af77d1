"""DL-TND: a Trojan's universal and per-image perturbations agree, and it is small.

Wang et al., "Practical Detection of Trojan Neural Networks: Data-Limited and Data-Free
Cases", ECCV 2020. White box: needs gradients and a few clean images a class.
"""

import functools

import numpy as np
from numpy.typing import ArrayLike

from bdjax.tnd import network as networks
from bdjax.tnd.config import OUTLIERS, DLTNDConfig, Execution
from bdjax.tnd.formulations import FORMULATIONS
from bdjax.tnd.minimal_mask import Images
from bdjax.tnd.network import Apply, Network
from bdjax.tnd.references import calibration_for, settings_of
from bdjax.tnd.solver import Shown, solve_all, telling
from bdjax.tnd.verdict import Verdict
from bdjax.types import PRNGKey, PyTree, UserError
from bdjax.verdicts import Calibration, conclude, few, preconditions

FEWEST = 4  # candidate labels, for one to be an outlier


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
    calibration: Calibration | None = None,
    progress: Shown = None,
) -> Verdict:
    """Decides from a few clean images whether a network is backdoored.

    Networks of one architecture share a compilation if they come with the same
    ``apply`` and ``features`` objects (and the same numbers of images and classes).

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
      calibration: benign references of your own, from :func:`bdjax.tnd.calibrate`;
        None for the built-in ones, if there are some for ``config``.
      progress: called as ``progress(done, total)``, iterations; by default a bar on a
        terminal. False shows nothing.

    Raises:
      UserError: images, labels, range or network are not as above, or the calibration
        is of another configuration; the message says what was found and what to do.
    """
    settings = settings_of(config) | {"num_classes": num_classes}
    calibration, unknown = calibration_for(
        config, calibration, settings=settings, num_classes=num_classes
    )
    reasons: list[str] = []
    value_range = networks.check_range(value_range)
    x = networks.check_images(images, value_range)
    x = x.astype(networks.float_of(variables))
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
    reasons += networks.doubts(net, variables, x, logits)
    reasons += preconditions.fills(x, value_range)
    reasons += preconditions.accurate(accuracy, config.min_accuracy, len(x))
    shared = Images(variables, np.asarray(net.inward(x)), y)
    with telling(progress, "DL-TND") as told:
        run = functools.partial(
            solve_all, shared=shared, execution=execution, images=len(x), progress=told
        )
        found = FORMULATIONS[config.parity](net, label_K, shared, config, run, key)
    notes += _unreached(found["sizes"], label_K, config)
    if config.score in OUTLIERS:
        reasons += _too_few(found["sizes"], len(label_K))
    scores = found["label_scores"]
    return Verdict(
        **conclude(
            float(scores.max()), scores, label_K, calibration, reasons, notes, unknown
        ),
        settings=settings,
        labels=label_K,
        accuracy=accuracy,
        config=config,
        **found,
    )


def _candidates(
    y: np.ndarray, num_classes: int, config: DLTNDConfig, notes: list[str]
) -> np.ndarray:
    missing = np.setdiff1d(np.arange(num_classes), y)
    if missing.size:
        line = f"no image of classes [{few(missing.tolist(), 10)}]"
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


def _too_few(sizes: dict[str, np.ndarray], count: int) -> list[str]:
    """What forbids to look for an outlier: few labels, or few that were reached."""
    if count < FEWEST:
        return [
            f"{count} candidate labels are too few to tell an outlier, which takes "
            f"{FEWEST}; compare mask_area with clean networks'"
        ]
    reached = min((int(np.isfinite(s).sum()) for s in sizes.values()), default=count)
    if reached >= max(FEWEST, count / 2):
        return []
    return [
        f"only {reached} of {count} labels were reached by a universal perturbation, "
        "too few to tell an outlier; raise config.iterations"
    ]


def _unreached(
    sizes: dict[str, np.ndarray], label_K: np.ndarray, config: DLTNDConfig
) -> list[str]:
    """A note on labels that no perturbation reached."""
    size_K = sizes.get("sparse", np.zeros(0))
    labels = label_K[: len(size_K)][~np.isfinite(size_K)].tolist()
    if not labels:
        return []
    return [
        f"no universal perturbation toward labels [{few(labels, 10)}] was found in "
        f"{config.iterations} iterations; raise config.iterations"
    ]
