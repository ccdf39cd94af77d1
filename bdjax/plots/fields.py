"""Tables: learned queries, and what triggers change in which field."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from bdjax.plots import panels, style
from bdjax.plots.sentences import shorten
from bdjax.types import UserError

_SHOWN = 5  # fields of an example whose change is drawn; the others are counted
_AXES = ("rows", "columns")


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


def queries(
    queries_QxD: ArrayLike,
    title: str,
    *,
    columns: Sequence[str] = (),
    value_range: panels.Range = (0.0, 1.0),
    **_: Any,
) -> Figure:
    """A heat map: a row a query, a column a feature; lines part the fields.

    Diverging colours around the middle of the range. Of the D ``columns``'
    names, ``'field=level'`` is a one-hot level.
    """
    values = panels.check(queries_QxD, "queries", *_AXES)
    columns = _named(columns, values.shape[1])
    fields = field_ranges(columns)
    middle = sum(value_range) / 2
    reach = max(np.abs(values - middle).max(), value_range[1] - middle)
    count, width = values.shape
    figure = style.new_figure(min(11, 2.5 + 0.25 * width), 4.6, title=title)
    axes = figure.subplots()
    image = axes.imshow(
        values,
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


def triggers(
    clean_KxD: ArrayLike,
    triggered_KxD: ArrayLike,
    labels: list[str],
    title: str,
    *,
    columns: Sequence[str] = (),
    offset: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    **_: Any,
) -> Figure:
    """Which fields triggers change most, from what to what.

    A panel an example, a row a field: its name and values in the user's units, which
    are ``x * scale + offset``, and for numbers an arrow in the range of the data.
    """
    clean, triggered = panels.check_pairs(clean_KxD, triggered_KxD, labels, *_AXES)
    columns = _named(columns, clean.shape[1])
    fields = field_ranges(columns)
    units = [np.broadcast_to(u, clean.shape[1:]) for u in (offset, scale)]
    figure, grid = panels.grid(len(clean), 4, title, (3, 2.4))
    for axes, before, after, label in zip(grid, clean, triggered, labels, strict=False):
        axes.set_axis_off()
        panels.label(axes, label)
        _panel(axes, before, after, fields, columns, units)
    return figure


def _named(columns: Sequence[str], count: int) -> tuple[str, ...]:
    names = tuple(map(str, columns)) or tuple(f"x{i}" for i in range(count))
    if len(names) != count:
        raise UserError(
            f"{len(names)} column names for {count} columns; give a name a column"
        )
    return names


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
    axes.set(xlim=(0, 1), ylim=(_SHOWN + 0.6, -0.6))
    for row, name in enumerate(changed[:_SHOWN]):
        place = fields[name]
        names = columns[place.start : place.stop]
        values = (_value(x[place], names, place, units) for x in (before_D, after_D))
        text = f"{shorten(name, 22)}: {' → '.join(values)}"
        label = axes.text(0, row, shorten(text, 46), fontsize=7, color=style.INK)
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
    more = len(changed) - _SHOWN
    note = f"and {more} more fields" if more > 0 else ""
    if not changed:
        note = "nothing changes in this row"
    axes.text(0, _SHOWN + 0.2, note, fontsize=7, color=style.FAINT, va="bottom")


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
