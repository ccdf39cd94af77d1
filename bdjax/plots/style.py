"""What all figures share: colours, frame, legend and saving."""

import pathlib
import re
from collections.abc import Iterable, Sized
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdjax.types import UserError

BENIGN_COLOR = "#8c8c8c"
# Okabe & Ito's colours, told apart under the common colour-vision deficiencies.
COLORS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
TARGET_COLOR = COLORS[0]  # of what is, or is taken for, a target or a trigger
ZONE_COLOR = "#f3e6c8"  # of scores that decide nothing
INK = "#333333"
FAINT = "#999999"

# Okabe & Ito's and Tol's; the first seven are often in one figure, and were chosen for
# the greatest least distance, simulated deficiencies included.
KINDS = {
    "benign": BENIGN_COLOR,
    "M": "#0072b2",
    "B": "#e69f00",
    "jumbo": "#000000",
    "patch": "#332288",
    "blend": "#56b4e9",
    "all_to_all": "#8a5a00",
    "all attacks": "#44aa99",
    "wanet": "#cc6677",
    "sig": "#4b6b00",
    "tact": "#7a3b9a",
    "polygon": "#00707f",
    "colour_filter": "#b04a00",
    "pixel": "#117733",
    "ell": "#882255",
    "cross": "#aa4499",
    "square": "#999933",
}
"""A kind of model -> its colour, in every figure."""

# Of detectors and anything else, none of them a kind's.
_OTHERS = ("#d55e00", "#009e73", "#cc79a7", "#b8a400", "#5d3fd3", "#cc3311", "#66ccaa")
_DETECTORS = (
    "MNTD",
    "MNTD without query tuning",
    "MNTD, one-class",
    "DL-TND",
    "DF-TND",
)
_KNOWN = dict(zip(_DETECTORS, _OTHERS, strict=False))


def kind_colors(names: Iterable[str]) -> dict[str, str]:
    """Gives each kind of model, attack or detector its colour.

    A kind has the same in every figure, whatever else is in it: the name of an attack,
    ``"benign"`` or ``"clean"``, alone or at the end of a longer name, such as
    ``"shadow-M"``. Other names take colours that no kind has, in order; the eighth
    takes the first one's again.

    Args:
      names: distinct.

    Returns:
      Hexadecimal colours by name, in order.
    """
    names = list(names)
    colors = {name: color for name in names if (color := _known(name))}
    free = [color for color in _OTHERS if color not in colors.values()] or _OTHERS
    unknown = (name for name in names if name not in colors)
    colors |= {name: free[i % len(free)] for i, name in enumerate(unknown)}
    return {name: colors[name] for name in names}


def _known(name: str) -> str | None:
    if name in _KNOWN:
        return _KNOWN[name]
    if name.lower().startswith(("benign", "clean")):
        return BENIGN_COLOR
    for kind, color in KINDS.items():
        if re.search(rf"(^|[\s,-]){kind}$", name):
            return color
    return None


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


def legend(figure: Figure, handles: Iterable[Artist], labels: Iterable[str]) -> None:
    """Writes a legend below all panels; three columns, none where there is no entry."""
    handles, labels = list(handles), list(labels)
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(handles), 3),
            fontsize=9, frameon=False,
        )  # fmt: skip


def require_some(entries: Sized, *, name: str) -> None:
    """Refuses an empty figure.

    Raises:
      UserError: there are no entries.
    """
    if not len(entries):
        raise UserError(f"a figure of 0 {name}, expected at least 1; pass some")
