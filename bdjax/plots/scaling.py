"""Wall time against the size of the work."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bdjax.plots import style


def wall_times(
    series: Mapping[str, Sequence[tuple[int, float]]], title: str, *, unit: str
) -> Figure:
    """Wall time against the number of models, both axes logarithmic.

    Args:
      series: by name, pairs of a number of models and seconds.
      title: heading.
      unit: what is counted, in the plural.

    Raises:
      UserError: there is no series.
    """
    style.require_some(series, name="series")
    figure = style.new_figure(6.0, 4.4, title=title)
    axes = figure.add_subplot()
    for name, color in style.kind_colors(series).items():
        sizes, seconds = zip(*sorted(series[name]), strict=True)
        each = 1000 * seconds[-1] / sizes[-1]
        label = f"{name} ({each:.3g} ms each at {sizes[-1]})"
        axes.plot(sizes, seconds, "o-", color=color, linewidth=2, label=label)
    axes.set(xscale="log", yscale="log")
    ticks = sorted({size for points in series.values() for size, _ in points})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(unit)
    axes.set_ylabel("wall time in seconds")
    style.tidy(axes)
    axes.legend(frameon=False)
    return figure
