"""One call: what can be had of a network decides what looks at it."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from bdjax.networks import Layout, Opened, Web, open_network
from bdjax.scanning.report import Preflight, Report
from bdjax.verdicts import Calibration, Conclusion

Path = str | os.PathLike[str]


def scan(
    network: Any,
    images: Any = None,
    labels: Any = None,
    *,
    weights: str | None = None,
    variables: Any = None,
    web: Web = Web(),
    access: str | None = None,
    layer: str | None = None,
    shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    classes: Sequence[str] = (),
    preprocess: str | None = None,
    value_range: tuple[float, float] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    layout: Layout | None = None,
    order: str | None = None,
    detectors: Sequence[str] | None = None,
    detector: Any = None,
    calibration: Path | dict[str, Calibration] | None = None,
    budget: float | None = None,
    seed: int = 0,
    progress: bool | None = None,
    watch: Callable[[Report], None] | None = None,
) -> Report:
    """Is this network backdoored?

    Args:
      network: a path, an address, ``"package.module:callable"``, or an object; see
        :func:`bdjax.networks.open_network`; or an ``Opened`` network.
      images: clean ones: a folder a class, an npz of images and labels, or an array
        ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``, bytes, or floats in
        [0, 1] or [0, 255], *before* any normalisation; None for none.
      labels: whole numbers ``[N]``, or a file of them (.npy, or text with one a line);
        None: those that ``images`` come with.
      weights: a file of weights for what a callable builds.
      variables: of a Linen module, or a JAX function ``apply(variables, x)``.
      web: how an HTTP endpoint is asked.
      access: no more of the network than this is used, a value of
        ``detectors.Access``: ``"labels"``, ``"probabilities"``, ``"logits"``,
        ``"gradients"``, ``"features"``; None: all that can be had.
      layer: name of the penultimate layer, where it is not found by itself.
      shape: of one input as the network takes it, such as ``(3, 32, 32)``, where
        neither the network nor images tell.
      num_classes: where the network does not tell by itself.
      classes: what labels are called, in the network's order.
      preprocess: name of a usual reading of images, such as ``"imagenet"``; see
        ``scanning.READINGS``.
      value_range: what the network takes for black and white; (0, 1) where nothing is
        said.
      mean: subtracted after that, a number or one a channel.
      std: divided by after that, likewise.
      layout: of images: ``"NCHW"`` or ``"NHWC"``.
      order: of channels: ``"RGB"`` or ``"BGR"``.
      detectors: keys of ``detectors.DETECTORS`` with options, such as ``"dl_tnd"`` or
        ``"df_tnd:seeds=8"``; None: every one that fits and is calibrated.
      detector: directory of a fitted MNTD detector, or one that was loaded; for
        networks that only answer.
      calibration: references of one's own, a file of :func:`calibrate`, or by
        detector; None for the built-in ones.
      budget: seconds; detectors run, cheapest first, until they are spent. None for
        no bound.
      seed: root of all randomness.
      progress: whether to show a bar; None: on a terminal.
      watch: called with the report so far whenever something new is known.

    Raises:
      UserError: the network, images or anything else cannot be used; one line on what
        to do. That a detector fails is no error: the report says why.
    """
    opened = (
        network
        if isinstance(network, Opened)
        else open_network(network, weights=weights, variables=variables, web=web)
    )
    report = Report(
        source=opened.name,
        kind=opened.kind,
        facts={},
        access=(),
        conclusion=Conclusion.INCONCLUSIVE,
        reasons=("nothing was looked at yet",),
        preflight=Preflight(reading="0..1"),
        seed=seed,
    )
    if watch:
        watch(report)
    return report
