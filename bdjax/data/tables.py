"""Tables: csv files with a header, and what scikit-learn ships."""

import csv
import gzip
import importlib
import io
import pathlib
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bdjax.data.base import Dataset, Request, Units, check_shape
from bdjax.data.content import GZIP, decode, one_line
from bdjax.data.encode import (
    Field,
    imbalance_notes,
    min_max,
    one_hot,
    parse_numbers,
)
from bdjax.types import UserError

SPLIT = "split"
"""The column that says ``train`` or ``test``; without it, all rows are for training."""


class Row(NamedTuple):
    """One row of a file: the line that it ends in, and its cells."""

    line: int
    cells: list[str]


def load_csv(
    request: Request,
    *,
    fields: Sequence[Field],
    label: str,
    classes: Sequence[str],
) -> Dataset:
    """Loads a csv or csv.gz file with a header; columns may stand in any order.

    Numbers are scaled to [0, 1] by the training rows, categories one-hot. What is
    missing (:data:`bdjax.data.encode.MISSING`) or an unknown level is filled in or left
    out as the notes say.

    Args:
        request: of examples ``(columns,)``.
        fields: what networks read, in this order.
        label: the column that holds the class.
        classes: what it may say, by label. A full stop at its end is ignored, as in
            UCI's test file of Adult.

    Raises:
        UserError: the file cannot be read or has no rows, lacks a column, a row has
            too few, a cell holds what is no number, no level of a category is known,
            or a class or split is unknown.
    """
    name = request.name
    file = request.file("csv", f"the path of {name!r} as csv or csv.gz")
    header, rows = _read(file)
    wanted = [*(field.name for field in fields), label]
    if missing := [column for column in wanted if column not in header]:
        raise UserError(
            f"{file} has no column {missing[0]!r}, its header says {', '.join(header)}:"
            f" {name!r} needs {', '.join(wanted)}"
        )
    rows, num_train = _by_split(file, header, rows)
    texts = zip(*(row.cells for row in rows), strict=True)
    cells = dict(zip(header, texts, strict=True))
    places = [f"line {row.line} of {file}" for row in rows]
    y = _labels(cells[label], classes, label, places)
    x, units, notes = _encode(cells, num_train, fields, places)
    columns = [column for field in fields for column in field.columns]
    return _dataset(request, str(file), x, y, num_train, units, notes, columns)


def load_sklearn(request: Request) -> Dataset:
    """Loads a table that ships with scikit-learn, such as ``'breast_cancer'``.

    All of its rows are training rows; columns are scaled to [0, 1].

    Raises:
        UserError: scikit-learn has no such table, a path is given, or it does not fit
            the task.
    """
    name = request.name
    load = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}", None)
    if load is None:
        raise UserError(f"source 'sklearn' has no {name!r}: choose another source")
    request.no_file("sklearn")
    table = load()
    columns = [str(feature) for feature in table.feature_names]
    y = table.target.astype(np.int32)
    x, units, notes = min_max(table.data, len(y), columns)
    where = f"scikit-learn's {name}"
    return _dataset(request, where, x, y, len(y), units, notes, columns)


def _dataset(
    request: Request,
    where: str,
    x: np.ndarray,
    y: np.ndarray,
    num_train: int,
    units: Units,
    notes: Sequence[str],
    columns: Sequence[str],
) -> Dataset:
    """A table of whatever source, once it is known to be as the task has it."""
    check_shape(x.shape[1:], request.shape, where)
    classes = request.num_classes
    return Dataset(
        request.name,
        x,
        y,
        classes,
        num_train,
        units=units,
        notes=(*notes, *imbalance_notes(y[:num_train], classes)),
        columns=tuple(columns),
    )


def _read(file: pathlib.Path) -> tuple[list[str], list[Row]]:
    """Returns the header and every row that is not blank, cells stripped."""
    try:
        content = file.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        text, _ = decode(content, file, "csv in UTF-8")
        lines = io.StringIO(text, newline="")
        table = [
            Row(reader.line_num, [cell.strip() for cell in row])
            for reader in [csv.reader(lines)]
            for row in reader
            if any(map(str.strip, row))
        ]
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: give the path of a csv") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file} is truncated or damaged: copy it again") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"cannot read {file} as csv: {one_line(error)}") from error
    if len(table) < 2:
        raise UserError(f"{file} has no rows below a header: check the file")
    (_, header), *rows = table
    if repeated := {name for name in header if header.count(name) > 1}:
        raise UserError(
            f"{file}: column {min(repeated)!r} is there twice: rename one of the two"
        )
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(
                f"line {line} of {file} has {len(row)} cells, its header "
                f"{len(header)}: mend the line"
            )
    return header, rows


def _by_split(
    file: pathlib.Path, header: list[str], rows: list[Row]
) -> tuple[list[Row], int]:
    """Returns training rows first, and how many they are."""
    if SPLIT not in header:
        return rows, len(rows)
    at = header.index(SPLIT)
    parts: dict[str, list[Row]] = {"train": [], "test": []}
    for row in rows:
        if row.cells[at] not in parts:
            raise UserError(
                f"line {row.line} of {file} says {row.cells[at]!r} in column "
                f"{SPLIT!r}: it must be 'train' or 'test'"
            )
        parts[row.cells[at]].append(row)
    if not parts["train"]:
        raise UserError(f"column {SPLIT!r} of {file} has no row 'train': mark some")
    return parts["train"] + parts["test"], len(parts["train"])


def _labels(
    texts: Sequence[str], classes: Sequence[str], label: str, places: Sequence[str]
) -> np.ndarray:
    """Returns int32 labels."""
    index = {text: i for i, text in enumerate(classes)}
    y = [index.get(text.removesuffix("."), -1) for text in texts]
    if -1 in y:
        row = y.index(-1)
        raise UserError(
            f"{places[row]} says {texts[row]!r} in column {label!r}: it must be one of "
            f"{', '.join(classes)}"
        )
    return np.array(y, np.int32)


def _encode(
    cells: dict[str, tuple[str, ...]],
    num_train: int,
    fields: Sequence[Field],
    places: Sequence[str],
) -> tuple[np.ndarray, Units, list[str]]:
    """Returns float32 ``[N, columns]``, their units and notes."""
    blocks, units, notes = [], [], []
    for field in fields:
        texts = cells[field.name]
        if field.levels:
            block, said = one_hot(texts, num_train, field)
            # A one-hot column is in the user's units already.
            width = block.shape[1]
            own = Units(np.zeros(width, np.float32), np.ones(width, np.float32))
        else:
            numbers, said = parse_numbers(texts, num_train, field.name, places)
            block, own, more = min_max(numbers[:, None], num_train, [field.name])
            said += more
        blocks.append(block)
        units.append(own)
        notes += said
    both = Units(*map(np.concatenate, zip(*units, strict=True)))
    return np.concatenate(blocks, axis=1), both, notes
