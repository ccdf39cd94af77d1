"""Tables of text and their cells."""

import io

import pytest
import rich.console

from bdjax.evaluation import AucSummary, Table, auc_cell
from bdjax.types import UserError

TABLE = Table(
    "AUC",
    ("task", "M"),
    (("mnist_mlp", "0.977 ± 0.004 [0.95, 0.99]"), ("[red]a|b*", "")),
)


def summary(**changes):
    fields = {"mean": 0.9768, "std": 0.0041, "low": 0.951, "high": 0.9949}
    return AucSummary(
        **{**fields, "repeats": 5, "positives": 24, "negatives": 24, **changes}
    )


def test_markdown_lines():
    assert TABLE.to_markdown().splitlines() == [
        "**AUC**",
        "",
        "| task | M |",
        "| --- | ---: |",
        "| mnist_mlp | 0.977 ± 0.004 [0.95, 0.99] |",
        r"| [red]a\|b\* |  |",
    ]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("*bold* `code` <br> ~no~", r"\*bold\* \`code\` \<br> \~no\~"),
        ("_stress_ __init__", r"\_stress\_ \_\_init\_\_"),
        ("clean_label_3", "clean_label_3"),
        ("two\nlines", "two<br>lines"),
    ],
)
def test_markdown_escapes(cell, written):
    line = Table("t", ("c",), ((cell,),)).to_markdown().splitlines()[-1]
    assert line == f"| {written} |"


def test_rich_shows_cells_as_they_are():
    console = rich.console.Console(file=io.StringIO(), width=80)
    console.print(TABLE.to_rich())
    text = console.file.getvalue()
    for cell in ("AUC", "task", "mnist_mlp", "[0.95, 0.99]", "[red]a|b*"):
        assert cell in text


def test_row_of_the_wrong_length_is_named():
    with pytest.raises(UserError, match="row 1 of table 'AUC' has 1 cells, expected 2"):
        Table("AUC", ("task", "M"), (("a", "b"), ("a",)))
    with pytest.raises(UserError, match="0 columns"):
        Table("AUC", (), ())


def test_auc_cell():
    assert auc_cell(summary()) == "0.977 ± 0.004 [0.95, 0.99]"
    assert auc_cell(summary(std=0.0, repeats=1)) == "0.977 [0.95, 0.99]"
