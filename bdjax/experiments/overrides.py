"""Fields of an experiment set by the command line: ``--zoo.data.test=100``."""

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bdjax import checks
from bdjax.detectors.options import typed
from bdjax.types import UserError

T = TypeVar("T")


def apply(config: T, arguments: Sequence[str]) -> T:
    """A frozen dataclass with fields changed, however deep they lie.

    Of a tuple of dataclasses, such as an experiment's groups, a part of the path
    chooses by position or by label (``--zoo.groups.target.models=8``,
    ``--zoo.groups.0.models=8``); without one, all change
    (``--zoo.groups.recipes.steps=50``).

    Args:
      config: the dataclass.
      arguments: such as ``"--zoo.data.test=100"``, ``"--detectors=mntd,dl_tnd"``; all
        take effect together.

    Raises:
      UserError: an argument is none, names a field that is not there, or its value does
        not suit the field.
    """
    changes: dict[Any, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not name.startswith("--"):
            raise UserError(f"unknown argument {argument!r}; options start with --")
        if not equals:
            raise UserError(f"{name} has no value; write {name}=VALUE")
        _note(
            config, name[2:].split("."), functools.partial(_parsed, text), [], changes
        )
    return _changed(config, changes)


def change(config: T, values: Mapping[str, Any]) -> T:
    """The same with values instead of text: ``change(e, {"zoo.data.test": 100})``."""
    changes: dict[Any, Any] = {}
    for name, value in values.items():
        _note(config, name.split("."), lambda *_, value=value: value, [], changes)
    return _changed(config, changes)


class _Leaf(typing.NamedTuple):
    value: Any


_Read = Callable[[Any, str], Any]  # of a field's type and path


def _note(
    value: Any, parts: list[str], read: _Read, path: list[str], changes: dict[Any, Any]
) -> None:
    """Puts what is ``read`` of a field into ``changes``, a tree like the config."""
    if isinstance(value, tuple):
        chosen, parts, path = _chosen(value, parts, path)
        for i in chosen:
            _note(value[i], parts, read, path, changes.setdefault(i, {}))
        return
    name, *rest = parts
    fields = [f.name for f in dataclasses.fields(value)] if _has_fields(value) else []
    if name not in fields:
        where = ".".join(path) or "the experiment"
        raise UserError(f"{where} has no field {name!r}; it has {fields}")
    inner, path = getattr(value, name), [*path, name]
    if rest:
        _note(inner, rest, read, path, changes.setdefault(name, {}))
    else:
        kind = typing.get_type_hints(type(value))[name]
        changes[name] = _Leaf(read(kind, ".".join(path)))


def _has_fields(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and dataclasses.is_dataclass(value[0])
    return dataclasses.is_dataclass(value)


def _chosen(
    values: tuple[Any, ...], parts: list[str], path: list[str]
) -> tuple[list[int], list[str], list[str]]:
    """Positions that the first part chooses, the parts that are left, and the path."""
    first, *rest = parts
    labels = [(str(i), *_labels(value)) for i, value in enumerate(values)]
    chosen = [i for i, some in enumerate(labels) if first in some]
    if chosen and rest:
        return chosen, rest, [*path, first]
    if first.isdecimal():
        places = [*range(len(values))]
        raise UserError(f"{'.'.join(path)} has no entry {first}; it has {places}")
    if _has_fields(values):
        names = [name for some in labels for name in some[1:]]
        names += [f.name for f in dataclasses.fields(values[0])]
        if first not in names:
            known = checks.there_are(dict.fromkeys(names), first)
            where = ".".join(path)
            raise UserError(f"{where} has no group or field {first!r}; {known}")
    return list(range(len(values))), parts, path


def _labels(value: Any) -> tuple[str, ...]:
    names = (getattr(value, "name", ""), *getattr(value, "labels", ()))
    return tuple(name for name in names if name)


def _parsed(text: str, kind: Any, path: str) -> Any:
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    if dataclasses.is_dataclass(item):
        fields = [f.name for f in dataclasses.fields(item)]
        raise UserError(
            f"--{path} holds fields; set --{path}.FIELD=..., one of {fields}"
        )
    if item is kind:
        name = f"--{path}"
        return typed("command line", {name: text}, {name: kind})[name]
    parts = [part.strip(" '\"") for part in text.strip("()[] ").split(",")]
    return tuple(_parsed(part, item, path) for part in parts if part)


def _changed(value: Any, changes: dict[Any, Any]) -> Any:
    if isinstance(value, tuple):
        return tuple(_changed(v, changes.get(i, {})) for i, v in enumerate(value))
    if not changes:
        return value
    made = {
        name: change.value if isinstance(change, _Leaf)
        else _changed(getattr(value, name), change)
        for name, change in changes.items()
    }  # fmt: skip
    return dataclasses.replace(value, **made)
