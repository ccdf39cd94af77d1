"""A detector's name and options as one word, such as ``dl_tnd:per_class=1``."""

import types
import typing
from collections.abc import Mapping
from typing import Any

from bdjax.types import UserError

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Name and options, which are sorted by name.

    Raises:
      UserError: an option has no value, or is given twice.
    """
    name, _, rest = text.strip().partition(":")
    given: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, found, value = map(str.strip, part.partition("="))
        if not (key and found and value):
            raise UserError(
                f"detector {text!r}: option {part!r} is not name=value; write "
                f"{name}:name=value,name=value"
            )
        if key in given:
            raise UserError(f"detector {text!r}: {key} is given twice; give it once")
        given[key] = value
    return name.strip(), dict(sorted(given.items()))


def typed(
    what: str, given: Mapping[str, str], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Options as values of the types that are known of them.

    Raises:
      UserError: there is no such option, or a value is none of its type.
    """
    found = {}
    for key, value in given.items():
        if key not in known:
            raise UserError(
                f"{what} has no option {key!r}; it has {sorted(known) or 'none'}"
            )
        try:
            found[key] = _read(known[key], value)
        except ValueError as error:
            raise UserError(f"{what}: {key} is {value!r}; {error}") from error
    return found


def _read(kind: Any, value: str) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value.lower() == "none":
            return None
        (kind,) = [k for k in typing.get_args(kind) if k is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        if value not in (choices := typing.get_args(kind)):
            raise ValueError(f"there are {list(choices)}")
        return value
    if kind is bool:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise ValueError("it must be true or false")
        return value.lower() in _TRUE
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"it must be of type {kind.__name__}") from None
