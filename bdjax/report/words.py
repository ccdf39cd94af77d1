"""The templates, and how numbers become text in them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
import markupsafe
from markdown_it import MarkdownIt

from bdjax.evaluation import auc_cell
from bdjax.evaluation.tables import escape
from bdjax.report.numbers import ALL, CALLS

QUANTILES = "Q does not decide the score of bdjax's own DL-TND"

ATTACKS = {
    "M": "modification, a part of the input is overwritten",
    "B": "blending, a faint pattern over the whole input",
    "jumbo": "MNTD's random mixture of M and B, which its shadows are trained with",
}
"""What names of attacks stand for that do not say it themselves."""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("bdjax.report"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.globals |= {"all_attacks": ALL, "legend": ATTACKS, "on_Q": QUANTILES}
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def render(name: str, **values: Any) -> str:
    """The text of a template."""
    return _TEMPLATES.get_template(name).render(**values)


def sentence(name: str, *arguments: Any) -> list[str]:
    """What a macro of ``findings.txt`` says: a sentence a line, or none."""
    macro = getattr(_TEMPLATES.get_template("findings.txt").module, name)
    return lines(macro(*arguments))


def lines(text: str) -> list[str]:
    """Those that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _html(text: str) -> markupsafe.Markup:
    """Markdown as HTML; wide tables scroll by themselves."""
    page = _MARKDOWN.render(text).replace("</table>", "</table></div>")
    return markupsafe.Markup(page.replace("<table>", '<div class="scroll"><table>'))


def _tally(found: Mapping[str, Any] | None) -> str:
    """Percent of each conclusion, such as ``"25 / 50 / 25"``."""
    if not found or not found["models"]:
        return ""
    return " / ".join(f"{100 * found[name] / found['models']:.0f}" for name in CALLS)


def _keys(mappings: Iterable[Mapping[Any, Any]]) -> list[Any]:
    """Of all of them, in order, those of all attacks last."""
    names = dict.fromkeys(key for each in mappings for key in each)
    return sorted(names, key=lambda name: name == ALL)


def _short(value: Any) -> str:
    """A cell: few digits, nothing of what is unknown."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if value % 1 == 0 else f"{value:.3g}"


_TEMPLATES.filters |= {
    "auc": auc_cell,
    "filled": lambda found: {k: v for k, v in found.items() if v},
    "html": _html,
    "keys": _keys,
    "md": lambda value: escape(value if isinstance(value, str) else f"{value:g}"),
    "percent": lambda share: f"{share:.0%}",
    "pick": lambda found, field: {k: v[field] for k, v in found.items()},
    "short": _short,
    "tally": _tally,
    "title_of": lambda name, found: found["titles"][name],
    "without": lambda found, name: {k: v for k, v in found.items() if k != name},
}
