"""JSON files that are whole or absent, and the header that says whose they are."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bdjax.types import UserError

_TEMPORARY = re.compile(r"\..*\.\d+\.tmp")

_ABSENT = object()


def _plain(obj: Any) -> Any:
    """Turns what JSON does not know into what it does; `json.dumps` goes on inside."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj)}
    if hasattr(obj, "tolist"):
        return obj.tolist()
    if isinstance(obj, Mapping):
        return dict(obj)
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    raise TypeError(f"{type(obj).__name__} has no JSON form: {obj!r}")


def json_text(obj: Any, *, indent: int | None = None) -> str:
    """Writes `obj` as JSON text.

    Args:
      obj: JSON values, and inside them arrays and array scalars (as nested lists and
        numbers), dataclass instances (as objects), mappings and paths.
      indent: spaces a level, or None for one line.

    Returns:
      The text. A NaN stays `NaN`, which Python and JavaScript's JSON5 read.

    Raises:
      TypeError: something in `obj` has no JSON form.
    """
    return json.dumps(obj, indent=indent, default=_plain)


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Writes `obj` (see `json_text`) so that `path` never holds half of it.

    Args:
      path: the file; its folder is made where missing, an old file is replaced.
      obj: what to write.

    Raises:
      TypeError: something in `obj` has no JSON form; the old file stays.
      UserError: the file cannot be written there.
    """
    write_bytes(path, (json_text(obj, indent=2) + "\n").encode())


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` so that `path` never holds half of it.

    Args:
      path: the file; its folder is made where missing, an old file is replaced.
      data: what to write.

    Raises:
      UserError: the file cannot be written there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {error.strerror}; mend this or choose another "
            "place"
        ) from error


def is_temporary(path: Path) -> bool:
    """Whether `path` is what a kill during `write_json` leaves behind."""
    return _TEMPORARY.fullmatch(path.name) is not None


def refuse_foreign(
    directory: Path, *, what: str, sign: str, ours: Callable[[str], object]
) -> None:
    """Raises unless a directory is missing, has a sign, or is as a kill left ours.

    Args:
      directory: the directory.
      what: what it is to hold.
      sign: the file that says that it does.
      ours: says of another file's name whether it may be there without.

    Raises:
      UserError: it is a file, or holds something else.
    """
    if (directory / sign).exists() or not directory.exists():
        return
    if not directory.is_dir():
        raise UserError(f"{directory} is a file; choose a directory for the {what}")
    for entry in directory.iterdir():
        if not (is_temporary(entry) or ours(entry.name)):
            raise UserError(
                f"{directory} holds {entry.name} and no {sign}; choose an empty "
                f"directory for the {what}"
            )


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file.

    Raises:
      UserError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}; check the path"
        ) from error
    except ValueError as error:  # of JSON, or of UTF-8
        raise UserError(
            f"{path} is not JSON ({error}); restore the file or make it again"
        ) from error


def header(schema: int, kind: str) -> dict[str, Any]:
    """Makes the fields that `read_header` checks, and the versions that wrote them."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("bdjax", "jax", "numpy", "orbax-checkpoint"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # Run from a checkout.
            versions[name] = None
    return {"schema": schema, "kind": kind, "versions": versions}


def read_header(
    path: Path,
    *,
    schema: int,
    kind: str,
    fields: dict,
    fix: str = "make it again",
) -> dict[str, Any]:
    """Reads a JSON object that `header` began and refuses any other.

    Args:
      path: the file.
      schema: the one that the caller reads.
      kind: what the object must say it is.
      fields: further fields that it must have, each with the type of its value.
      fix: what the user can do where the schema is older.

    Returns:
      The object.

    Raises:
      UserError: the file is missing, damaged, of another kind or of another schema.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("kind") != kind:
        what = found.get("kind") if isinstance(found, dict) else type(found).__name__
        raise UserError(f"{path} is of kind {what!r}, not {kind!r}; check the path")
    if not isinstance(found.get("schema"), int):
        raise UserError(f"{path}: schema is {found.get('schema')!r}; restore the file")
    if found["schema"] != schema:
        newer = found["schema"] > schema
        raise UserError(
            f"{path}: schema {found['schema']} comes from "
            f"{'a newer' if newer else 'an older'} bdjax, this one reads {schema}; "
            f"{'update bdjax' if newer else fix}"
        )
    for name, type_ in fields.items():
        if not isinstance(found.get(name), type_):
            raise UserError(f"{path} is damaged: no {name!r} in it; restore the file")
    return found


def as_json(obj: Any) -> Any:
    """`obj` as it would be read back: tuples are lists, arrays nested lists."""
    return json.loads(json_text(obj))


def digest(obj: Any) -> str:
    """Sixteen hex digits that tell JSON values (see `json_text`) apart."""
    text = json.dumps(as_json(obj), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(path: str, stored: Any, asked: Any) -> str | None:
    """Says where two JSON values first differ, by the path and both values.

    Args:
      path: what to call the outermost value.
      stored: as JSON gives it.
      asked: likewise.

    Returns:
      Such as ``"recipe.steps: 100 on disk, 200 asked"``; None where they are equal.
    """
    lists = isinstance(stored, list) and isinstance(asked, list)
    if lists and len(stored) == len(asked):
        stored, asked = dict(enumerate(stored)), dict(enumerate(asked))
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in {**asked, **stored}:
            pair = stored.get(key, _ABSENT), asked.get(key, _ABSENT)
            inner = path if path == key else f"{path}.{key}"  # no "recipe.recipe"
            if found := difference(inner, *pair):
                return found
        return None
    # Compared as text too, since a NaN is not equal to itself.
    if stored == asked or _shown(stored) == _shown(asked):
        return None
    return f"{path}: {_shown(stored)} on disk, {_shown(asked)} asked"


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
