"""A report as one self-contained page."""

import html
from typing import TYPE_CHECKING

from bdjax.scanning.render import text

if TYPE_CHECKING:
    from bdjax.scanning.report import Report


def to_html(report: "Report") -> str:
    """The whole page."""
    return f"<!DOCTYPE html><pre>{html.escape(text.to_text(report))}</pre>"


def to_cell(report: "Report") -> str:
    """For a notebook's cell: the page in a frame of its own."""
    page = html.escape(to_html(report), quote=True)
    return (
        f'<iframe srcdoc="{page}" title="bdjax scan" '
        'style="width: 100%; height: 48rem; border: 0"></iframe>'
    )
