"""What all figures share: colours, frame, legend and saving."""

import pathlib
from collections.abc import Iterable, Sized
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdjax.types import UserError

BENIGN_COLOR = "#6b7f99"
# Okabe & Ito's colours, told apart under the common colour-vision deficiencies.
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK = "#333333"
FAINT = "#999999"


def kind_colors(kinds: Iterable[str]) -> dict[str, str]:
    """Gives each kind of model, attack or detector its colour.

    "benign" (or "clean") is always grey-blue and takes no turn, so an attack keeps
    its colour in a figure without benign models. The others follow in order; the
    eighth takes the first one's colour again.

    Args:
      kinds: distinct names, in the same order for every figure of a report.

    Returns:
      Hexadecimal colours by name, in order.
    """
    colors: dict[str, str] = {}
    turn = 0
    for kind in kinds:
        if kind.lower() in ("benign", "clean"):
            colors[kind] = BENIGN_COLOR
        else:
            colors[kind] = COLORS[turn % len(COLORS)]
            turn += 1
    return colors


def save(figure: Figure, path: str | pathlib.Path) -> pathlib.Path:
    """Writes a figure as PNG (130 dpi), making its folder if need be.

    Args:
      figure: the figure.
      path: file to write, ending in ``.png``; replaced if it exists.

    Returns:
      The path.

    Raises:
      UserError: the name does not end in ``.png``.
    """
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise UserError(f"cannot save a figure as {path.name!r}; name it *.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, format="png")
    return path


def new_figure(
    width: float,
    height: float,
    *,
    title: str,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Figure:
    """Returns an empty white figure with its heading.

    Args:
      width: inches; raised to 4.8 so that a heading fits.
      height: inches.
      title: heading.
      layout: "compressed" keeps a grid of images together.
    """
    figure = Figure(figsize=(max(width, 4.8), height), layout=layout, facecolor="white")
    figure.suptitle(title, fontsize=12, color=INK, wrap=True)
    return figure


def tidy(axes: Axes, *, grid: Literal["x", "y", "both"] = "both") -> None:
    """Gives axes an open frame, small labels and a faint grid behind the data.

    Args:
      axes: the axes.
      grid: which axis gets grid lines.
    """
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=9, color=FAINT, labelcolor=INK)
    axes.grid(axis=grid, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=10, color=INK)


def require_some(entries: Sized, *, name: str) -> None:
    """Refuses an empty figure.

    Raises:
      UserError: there are no entries.
    """
    if not len(entries):
        raise UserError(f"a figure of 0 {name}, expected at least 1; pass some")
