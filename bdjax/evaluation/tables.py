"""Small tables of text, for a terminal (rich) and for a README (Markdown)."""

import dataclasses
import re

import rich.table
import rich.text

from bdjax.evaluation.auc import AucSummary
from bdjax.types import UserError

_MARKS = re.compile(
    # An underscore inside a word (mnist_mlp) is no emphasis and stays readable.
    r"[\\|*`<~]|(?<![^\W_])_|_(?![^\W_])"
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A titled table; every cell is plain text, shown as it is.

    The first column is set left (names), the others right (numbers).

    Attributes:
      title: one line above the table.
      columns: the headings.
      rows: one tuple of cells a row, as long as ``columns``.

    Raises:
      UserError: there is no column, or a row has too many or too few cells.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self):
        if not self.columns:
            raise UserError(
                f"table {self.title!r} has 0 columns, expected at least 1; name them"
            )
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise UserError(
                    f"row {index} of table {self.title!r} has {len(row)} cells, "
                    f"expected {len(self.columns)}: {', '.join(self.columns)}"
                )

    def to_rich(self) -> rich.table.Table:
        """Returns the table for ``rich.print``."""
        # Text, not str: rich would read "[red]" in a str as markup.
        table = rich.table.Table(title=rich.text.Text(self.title))
        for index, column in enumerate(self.columns):
            table.add_column(
                rich.text.Text(column), justify="right" if index else "left"
            )
        for row in self.rows:
            table.add_row(*map(rich.text.Text, row))
        return keep_first(table)

    def to_markdown(self) -> str:
        """Returns the table in GitHub's Markdown, without a final newline.

        Pipes, emphasis marks, backticks and ``<`` are escaped; a line break becomes
        ``<br>``.
        """
        rules = ["---", *["---:"] * (len(self.columns) - 1)]
        lines = [map(escape, self.columns), rules]
        lines += [map(escape, row) for row in self.rows]
        body = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([f"**{escape(self.title)}**", "", *body])


def keep_first(table: rich.table.Table) -> rich.table.Table:
    """The table, its first column of texts never cut: the others give way."""
    first = table.columns[0]
    texts = (first.header, *first.cells)
    first.min_width = max(t.cell_len for t in texts if isinstance(t, rich.text.Text))
    first.no_wrap = True
    return table


def auc_cell(summary: AucSummary) -> str:
    """Writes an AUC as ``0.977 ± 0.004 [0.95, 0.99]``.

    The spread is left out for a single repeat, which has none.
    """
    spread = f" ± {summary.std:.3f}" if summary.repeats > 1 else ""
    return f"{summary.mean:.3f}{spread} [{summary.low:.2f}, {summary.high:.2f}]"


def escape(text: str) -> str:
    """Text as Markdown shows it: marks escaped, a line break as ``<br>``."""
    escaped = _MARKS.sub(lambda mark: "\\" + mark.group(), text)
    return "<br>".join(escaped.splitlines())
