"""Images: learned queries, and inputs with and without their triggers."""

import math

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError

EDGE_COLOR = style.COLORS[2]


def query_images(
    queries_QxHxWxC: ArrayLike,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    title: str,
) -> Figure:
    """Learned queries as a grid of images, with a colour bar of their values.

    Queries may leave the range of real inputs. The scale always reaches the extreme
    values and the bar marks the range by two lines. One channel is drawn in
    diverging colours around the middle of the range; three are drawn as red, green
    and blue, each on the bar's grey scale.

    Args:
      queries_QxHxWxC: finite, C = 1 or 3.
      value_range: lowest and highest value of real inputs.
      title: heading.

    Returns:
      The figure.

    Raises:
      UserError: the shape or the range is wrong, or a value is not finite.
    """
    queries = check_images(queries_QxHxWxC, name="queries")
    scale, values = _query_scale(queries, value_range)
    columns = _grid_columns(len(queries))
    rows = math.ceil(len(queries) / columns)
    width = 1.3 * columns + 1.2
    # A colour bar lower than this has no room for its label.
    height = max(rows * (1.3 * aspect(queries) + 0.25) + 0.4, 2.3)
    figure = style.new_figure(width, height, title=title, layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, image in enumerate(values):
        axes = grid.flat[index]
        axes.imshow(image, cmap=scale.cmap, norm=scale.norm, interpolation="nearest")
        axes.set_title(f"query {index + 1}", fontsize=8, color=style.INK, pad=3)
    bar = figure.colorbar(scale, ax=grid, fraction=0.5 / width, pad=0.02)
    for edge in value_range:
        bar.ax.axhline(edge, color=EDGE_COLOR, linewidth=2.5)
    bar.set_label("value (green: range of inputs)", fontsize=8, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    return figure


def trigger_samples(
    clean_KxHxWxC: ArrayLike,
    triggered_KxHxWxC: ArrayLike,
    labels: list[str],
    title: str,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Clean inputs over the same inputs with their triggers.

    Args:
      clean_KxHxWxC: finite, C = 1 (grey) or 3 (colour).
      triggered_KxHxWxC: same shape.
      labels: K texts, one above each pair.
      title: heading.
      value_range: values drawn darkest and brightest; those beyond are clipped.

    Returns:
      The figure.

    Raises:
      UserError: shapes, labels or the range do not fit, or a value is not finite.
    """
    clean = check_images(clean_KxHxWxC, name="clean images")
    triggered = check_images(triggered_KxHxWxC, name="triggered images")
    if clean.shape != triggered.shape:
        raise UserError(
            f"triggered images have shape {triggered.shape}, expected {clean.shape} "
            "like the clean ones; pass the same images in both"
        )
    if len(labels) != len(clean):
        raise UserError(
            f"{len(labels)} labels for {len(clean)} pairs of images; give each one"
        )
    low, high = check_range(value_range)
    figure = style.new_figure(
        1.45 * len(clean) + 0.5,
        2 * 1.45 * aspect(clean) + 0.7,
        title=title,
        layout="compressed",
    )
    grid = figure.subplots(2, len(clean), squeeze=False)
    for name, images, row in zip(
        ("clean", "triggered"), (clean, triggered), grid, strict=True
    ):
        for image, axes in zip(np.clip(images, low, high), row, strict=True):
            shown = drop_grey_axis((image - low) / (high - low))
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color(style.FAINT)
        row[0].set_ylabel(name, fontsize=10, color=style.INK)
    for label, axes in zip(labels, grid[0], strict=True):
        axes.set_title(label, fontsize=8.5, color=style.INK, pad=4)
    return figure


def _query_scale(
    queries: NDArray, value_range: tuple[float, float]
) -> tuple[ScalarMappable, NDArray]:
    """Returns the colour scale, and what to hand to ``imshow`` along with it."""
    low, high = check_range(value_range)
    if queries.shape[-1] == 3:
        norm = Normalize(min(low, queries.min()), max(high, queries.max()))
        # imshow has no scale for colour images: it takes shares of one.
        return ScalarMappable(norm, cmap="gray"), np.asarray(norm(queries))
    middle = (low + high) / 2
    reach = max(np.abs(queries - middle).max(), high - middle)
    norm = Normalize(middle - reach, middle + reach)
    return ScalarMappable(norm, cmap="PuOr_r"), drop_grey_axis(queries)


def drop_grey_axis(images: NDArray) -> NDArray:
    """As ``imshow`` takes them: ``[..., 1]`` becomes ``[...]``."""
    return images[..., 0] if images.shape[-1] == 1 else images


def _grid_columns(count: int) -> int:
    """Returns the columns of a square to wide grid that leave the fewest gaps."""
    fewest = math.ceil(math.sqrt(count))
    choices = range(fewest, max(min(2 * fewest, 10), fewest) + 1)
    return min(choices, key=lambda columns: (-count % columns, columns))


def aspect(images: NDArray) -> float:
    """Height over width."""
    # Bounded: a very long or flat input would make an unusable page.
    return float(np.clip(images.shape[1] / images.shape[2], 0.4, 2.5))


def check_images(values: ArrayLike, *, name: str) -> NDArray:
    """Returns images as a finite floating array ``[N, H, W, 1 or 3]``.

    Raises:
      UserError: the shape is wrong, or a value is not finite.
    """
    array = as_finite(values, name=name)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or not array.size:
        raise UserError(
            f"{name} have shape {array.shape}, expected (images, height, width, 1 or "
            "3); pick a channel with [..., :1] or add an axis with [..., None]"
        )
    return array


def check_range(value_range: tuple[float, float]) -> tuple[float, float]:
    """Returns the range.

    Raises:
      UserError: it is not two finite values in order.
    """
    low, high = value_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"value_range={value_range} must be two finite values, low < high; pass "
            "the range of the task's inputs"
        )
    return low, high
