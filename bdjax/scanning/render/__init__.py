"""A report as text, JSON, SARIF and HTML."""

from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING

from bdjax import checks
from bdjax.scanning.render import html, plain, sarif, text
from bdjax.types import UserError

if TYPE_CHECKING:
    from bdjax.scanning.report import Report

FORMATS: dict[str, "Callable[[Report], str]"] = {
    "text": text.to_text,
    "json": plain.to_json,
    "sarif": sarif.to_sarif,
    "html": html.to_html,
}
_ENDINGS = {
    ".txt": "text", ".json": "json", ".sarif": "sarif", ".html": "html", ".htm": "html"
}  # fmt: skip


def render(report: "Report", form: str) -> str:
    """The text of a report, a whole file.

    Args:
      report: of a scan.
      form: a key of :data:`FORMATS`.

    Raises:
      UserError: there is no such format.
    """
    checks.one_of(FORMATS, format=form)
    return FORMATS[form](report)


def format_of(path: "str | PurePath") -> str:
    """The format that a file's name stands for; ``x.sarif.json`` is SARIF, too.

    Raises:
      UserError: it stands for none.
    """
    path = PurePath(path)
    if [ending.lower() for ending in path.suffixes[-2:]] == [".sarif", ".json"]:
        return "sarif"
    if path.suffix.lower() not in _ENDINGS:
        raise UserError(
            f"the name {path.name!r} tells no format of a report; let it end in "
            f"{', '.join(sorted(set(_ENDINGS) - {'.htm'}))}"
        )
    return _ENDINGS[path.suffix.lower()]
