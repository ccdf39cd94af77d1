"""Tables: learned queries, and what triggers change in which field."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.evaluation.checks import as_finite
from bdjax.plots import style
from bdjax.types import UserError

SHOWN = 5
"""Fields of an example whose change is drawn; the others are counted."""


def field_ranges(columns: Sequence[str]) -> dict[str, range]:
    """Name of each field -> its columns, neighbours ``'name=level'`` being one."""
    found: dict[str, range] = {}
    for i, column in enumerate(columns):
        name, is_level, _ = column.partition("=")
        if is_level and name in found and found[name].stop == i:
            found[name] = range(found[name].start, i + 1)
        else:
            found[name if name not in found else column] = range(i, i + 1)
    return found


def query_fields(
    queries_QxD: ArrayLike,
    columns: Sequence[str],
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    title: str,
) -> Figure:
    """Learned queries as a heat map: a row a query, a column a feature.

    Diverging colours around the middle of the range; lines part the fields.

    Args:
      queries_QxD: finite.
      columns: D names; ``'field=level'`` for a one-hot level.
      value_range: lowest and highest value of real inputs.
      title: heading.

    Raises:
      UserError: the shape or the names do not fit, or a value is not finite.
    """
    queries = as_finite(queries_QxD, name="queries")
    if queries.ndim != 2 or len(columns) != queries.shape[1]:
        raise UserError(
            f"queries have shape {queries.shape} and there are {len(columns)} column "
            "names; give [queries, columns] and a name a column"
        )
    fields = field_ranges(columns)
    middle = sum(value_range) / 2
    reach = max(np.abs(queries - middle).max(), value_range[1] - middle)
    count, width = queries.shape
    figure = style.new_figure(min(11, 2.5 + 0.25 * width), 4.6, title=title)
    axes = figure.subplots()
    image = axes.imshow(
        queries,
        cmap="PuOr_r",
        vmin=middle - reach,
        vmax=middle + reach,
        aspect="auto",
        interpolation="nearest",
    )
    for place in list(fields.values())[1:]:
        axes.axvline(place.start - 0.5, color="white", linewidth=1.2)
    centres = [(place.start + place.stop - 1) / 2 for place in fields.values()]
    # More names than these would lie upon one another.
    step = -(-len(fields) // 45)
    axes.set_xticks(centres[::step], list(fields)[::step], rotation=90, fontsize=8)
    axes.set_yticks(range(count), [f"query {i + 1}" for i in range(count)], fontsize=8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=style.INK)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(f"value; inputs lie in {value_range}", fontsize=8, color=style.INK)
    bar.ax.tick_params(labelsize=8)
    return figure


def field_changes(
    clean_KxD: ArrayLike,
    triggered_KxD: ArrayLike,
    columns: Sequence[str],
    labels: list[str],
    title: str,
    *,
    offset_D: ArrayLike = 0.0,
    scale_D: ArrayLike = 1.0,
) -> Figure:
    """Which fields triggers change most, from what to what.

    A panel an example, a row a field: its name and values in the user's units, and for
    numbers an arrow in the range of the data.

    Args:
      clean_KxD: finite, numbers in [0, 1] and one-hot categories.
      triggered_KxD: same shape.
      columns: D names; ``'field=level'`` for a one-hot level.
      labels: K texts, one above each panel.
      title: heading.
      offset_D: with ``scale_D`` turns a number into the user's units.
      scale_D: likewise.

    Raises:
      UserError: shapes, names or labels do not fit, or a value is not finite.
    """
    clean = as_finite(clean_KxD, name="clean rows")
    triggered = as_finite(triggered_KxD, name="triggered rows")
    if clean.ndim != 2 or clean.shape != triggered.shape:
        raise UserError(
            f"rows have shapes {clean.shape} and {triggered.shape}; pass the same ones "
            "in both, [rows, columns]"
        )
    if (len(labels), len(columns)) != clean.shape:
        raise UserError(
            f"{len(labels)} labels and {len(columns)} column names for rows of shape "
            f"{clean.shape}; give one each"
        )
    fields = field_ranges(columns)
    units = [np.broadcast_to(u, clean.shape[1:]) for u in (offset_D, scale_D)]
    across = min(4, len(clean))
    down = -(-len(clean) // across)
    figure = style.new_figure(3 * across, 2.4 * down + 0.5, title=title)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, before, after, label in zip(
        grid.flat, clean, triggered, labels, strict=False
    ):
        axes.set_title(label, fontsize=8.5, color=style.INK, pad=4)
        _panel(axes, before, after, fields, columns, units)
    return figure


def _panel(
    axes: Axes,
    before_D: NDArray,
    after_D: NDArray,
    fields: dict[str, range],
    columns: Sequence[str],
    units: list[NDArray],
) -> None:
    size = {
        name: np.abs(after_D[place] - before_D[place]).max()
        for name, place in fields.items()
    }
    changed = sorted((n for n in fields if size[n] > 1e-6), key=lambda n: -size[n])
    axes.set(xlim=(0, 1), ylim=(SHOWN + 0.6, -0.6))
    for row, name in enumerate(changed[:SHOWN]):
        place = fields[name]
        names = columns[place.start : place.stop]
        values = (_value(x[place], names, place, units) for x in (before_D, after_D))
        text = f"{_short(name, 22)}: {' → '.join(values)}"
        label = axes.text(0, row, _short(text, 46), fontsize=7, color=style.INK)
        label.set_in_layout(False)  # long texts may not make panels narrow
        if len(place) == 1:
            start, end = before_D[place.start], after_D[place.start]
            axes.plot([0, 1], [row + 0.15] * 2, color="#e6e6e6", linewidth=3, zorder=0)
            axes.annotate(
                "", (end, row + 0.15), (start, row + 0.15),
                arrowprops={
                    "arrowstyle": "->", "color": style.TARGET_COLOR,
                    "shrinkA": 0, "shrinkB": 0,
                },
            )  # fmt: skip
    more = len(changed) - SHOWN
    note = f"and {more} more fields" if more > 0 else ""
    if not changed:
        note = "nothing changes in this row"
    axes.text(0, SHOWN + 0.2, note, fontsize=7, color=style.FAINT, va="bottom")


def _value(
    x: NDArray, columns: Sequence[str], place: range, units: list[NDArray]
) -> str:
    """A number in the user's units, or the levels that a category is a mixture of."""
    if len(place) == 1:
        offset, scale = (unit[place.start] for unit in units)
        value = x[0] * scale + offset
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    names = [column.partition("=")[2] for column in columns]
    order = [i for i in np.argsort(-x)[:2] if x[i] > 1e-6]
    if not order:
        return "none"
    if len(order) == 1:
        share = "" if x[order[0]] > 1 - 1e-6 else f"{x[order[0]]:.0%} "
        return f"{share}{names[order[0]]}"
    # The greater share is what is left.
    return f"+ {x[order[1]]:.0%} {names[order[1]]}"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
