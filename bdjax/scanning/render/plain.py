"""A report as JSON has it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bdjax.scanning.report import Report


def to_dict(report: "Report") -> dict[str, Any]:
    """The schema is in docs/report.md."""
    return {"conclusion": report.conclusion.value}
