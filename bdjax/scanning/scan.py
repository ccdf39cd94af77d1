"""One call: what can be had of a network decides what looks at it."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import mntd, tnd
from bdjax.detectors import Group, Resources
from bdjax.models import Model
from bdjax.networks import Features, Layout, Opened, Web, open_network
from bdjax.scanning import access as access_
from bdjax.scanning import calibrations as calibrations_
from bdjax.scanning import draws, preflight
from bdjax.scanning import images as images_
from bdjax.scanning.answers import Answering
from bdjax.scanning.judge import Clock, judge
from bdjax.scanning.preflight import Checked
from bdjax.scanning.reading import Reading, Stated
from bdjax.scanning.record import Counted, Record
from bdjax.scanning.report import Judgement, Report
from bdjax.tasks import Task
from bdjax.types import PyTree, UserError
from bdjax.verdicts import Calibration

Path = str | os.PathLike[str]

_CACHED = 400 * 32 * 32 * 3  # values of images of a program; see tnd.solver
_LARGE = 2_000_000  # parameters, of a network whose activations are many
_FEWER = 100  # images of a program, of these and of networks outside of JAX


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
    clock = Clock(budget)
    stated = Stated(preprocess, value_range, mean, std, layout, order)
    stated.check()  # before anything is read
    fitted, own = _fitted(detector), calibrations_.given(calibration)
    if images is None and labels is not None:
        raise UserError("labels are given without images; give both, or none")
    clean = None
    if images is not None:
        clean = images_.load(images, labels, classes=classes, seed=seed)
    if isinstance(network, Opened):
        opened = network
    else:
        opened = open_network(
            network,
            weights=weights,
            variables=variables,
            web=web,
            shapes=_shapes(shape, clean),
        )
    counted = Counted(opened.ask)
    checked = preflight.check(
        opened,
        counted,
        clean,
        stated,
        shape=shape,
        num_classes=num_classes,
        fitted=fitted,
    )
    found, features = access_.of(opened, checked, access, layer)
    planned = access_.plan(
        found, features, checked, asked=detectors, fitted=fitted, calibrations=own
    )
    names = clean.classes if clean else tuple(classes)
    record = Record(
        _source(network, opened),
        opened,
        counted,
        clean,
        checked,
        found,
        features,
        planned,
        names,
        clock,
        seed,
    )
    watch = watch or (lambda report: None)
    watch(record.report([]))
    group, resources = _inside(opened, checked, features, seed)
    judgements: list[Judgement] = []
    for one in planned:
        if one.detector is not None:
            judged = functools.partial(
                judge, one, group, clock=clock, progress=progress,
                ask=_asked(one.detector, counted, checked),
            )  # fmt: skip
            first = judged(resources)

            def again(
                other: Resources, judged: Any = judged, first: Any = first
            ) -> Any:
                watch(record.report([*judgements, first]))  # should time run out
                return judged(other)

            judgements.append(draws.settled(first, one.detector, resources, again))
            watch(record.report(judgements))
    return record.report(judgements)


def _source(network: Any, opened: Opened) -> str:
    """What it is called in a report: a file by its path, as it was given."""
    is_path = isinstance(network, (str, os.PathLike))
    return os.fspath(network) if is_path and os.path.isfile(network) else opened.name


def _shapes(
    stated: Sequence[int] | None, clean: images_.Clean | None
) -> list[tuple[int, ...]]:
    """That one input of the network may have, the likeliest first."""
    shapes = [tuple(stated)] if stated else []
    if clean is not None:
        height, width, channels = clean.x.shape[1:]
        shapes += [(height, width, channels), (channels, height, width)]
    return shapes


def _fitted(given: Any) -> list[mntd.MetaDetector]:
    """Fitted detectors: one or some, loaded or in directories."""
    if given is None:
        return []
    some = given if isinstance(given, (list, tuple)) else [given]
    return [
        one if isinstance(one, mntd.MetaDetector) else mntd.load(one) for one in some
    ]


def _asked(
    detector: Any, ask: Callable[[Any], np.ndarray], checked: Checked
) -> Callable[[Any], np.ndarray]:
    """The network as a fitted detector asks it: images by the reading."""
    if isinstance(detector, mntd.MetaDetector) and detector.queries.ndim != 4:
        return ask
    return lambda x: ask(checked.reading(np.asarray(x, np.float32)))


def _inside(
    opened: Opened, checked: Checked, features: Features, seed: int
) -> tuple[Group | None, Resources]:
    """The network as detectors look into it, and what they have besides."""
    clean = checked.clean
    task = Task("scan", checked.image, checked.num_classes, (0.0, 1.0), "scan", {})
    resources = Resources(
        task=task,
        seed=seed,
        x=None if clean is None else clean.x,
        y=None if clean is None else clean.y,
        test_x=None if clean is None else clean.x,
        test_y=None if clean is None else clean.y,
        progress=False,
        execution=_execution(opened, checked),
    )
    if opened.apply is None:
        return None, resources
    read = _read(opened.apply, checked.reading, checked.answering)
    behind = _read(features.apply or opened.apply, checked.reading)
    model = Model("scan", _untrained, read, behind, _untrained)
    variables = jax.tree.map(lambda leaf: np.asarray(leaf)[None], opened.variables)
    return Group("scan", model, variables, np.zeros(1, int)), resources


def _untrained(*args: Any, **options: Any) -> Any:
    raise NotImplementedError("a network of somebody else's is not trained here")


@dataclasses.dataclass(frozen=True)
class Read:
    """A network of images ``[N, H, W, C]`` in [0, 1].

    Attributes:
      apply: of its own inputs.
      reading: to these.
      answering: what it answers with, to be made logits; None leaves it as it is.
    """

    apply: Callable[..., jax.Array]
    reading: Reading
    answering: Answering | None = None

    def __call__(self, variables: PyTree, x: jax.Array) -> jax.Array:
        """Logits ``[N, C]``, or whatever it answers with."""
        answers = self.apply(variables, self.reading(x))
        if self.answering is None:
            return answers
        return self.answering.logits(answers.reshape(len(x), -1), jnp)


@functools.lru_cache(maxsize=4)
def _read(
    apply: Callable[..., jax.Array],
    reading: Reading,
    answering: Answering | None = None,
) -> Read:
    """The same each time, or networks of one function would compile again."""
    return Read(apply, reading, answering)


def _execution(opened: Opened, checked: Checked) -> tnd.Execution:
    """On a CPU, fewer images at once where a network or its images are large."""
    devices = 1 if opened.sequential else 0
    if jax.default_backend() != "cpu" or checked.clean is None:
        return tnd.Execution(devices=devices)
    assert checked.clean.y is not None
    most = _CACHED // math.prod(checked.image)
    if opened.sequential or (opened.parameters or 0) > _LARGE:
        most = min(most, _FEWER)
    if most >= 400:
        return tnd.Execution(devices=devices)
    batch = max(1, most // max(1, len(np.unique(checked.clean.y))))
    return tnd.Execution(devices=devices, label_batch=batch)
