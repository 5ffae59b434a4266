"""Convert frozen dataclasses to JSON and back.

Reading is strict: unknown, missing and mistyped fields are errors, whose messages give the path of the field. So are
values that no document of xedge has: numbers that are not finite or do not fit 64 bits, and text that is no Unicode.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from xedge.errors import BundleError
from xedge.untrusted import is_unicode

T = TypeVar("T")


# Larger whole numbers fit no array, and converting them may fail.
LARGEST = 1 << 63


def parse_json(text: str) -> Any:
    """Return the values of a JSON text, whoever wrote it.

    Raises:
        BundleError: The text is not JSON, it is nested too deep, or it has numbers that are too long.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise BundleError("is nested too deep") from None
    except ValueError as error:
        raise BundleError(f"is not JSON ({error})") from error


def to_json(value: Any) -> Any:
    """Return a dataclass and everything in it as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, str) and not is_unicode(value):  # The name of a file may be any bytes.
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def from_json(kind: type[T], data: Any, path: str = "$") -> T:
    """Return JSON values as a value of the given type.

    Args:
        kind: The type, such as a dataclass.
        data: The JSON values.
        path: The path of the data in its document, for messages.

    Raises:
        BundleError: The data does not have this type; the message gives the path.
    """
    result: T = _parse(kind, data, path)
    return result


def _parse(kind: Any, data: Any, path: str) -> Any:
    if kind is Any:
        return data
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, data, path)
    if origin is typing.Literal:
        known = isinstance(data, str | int) and data in arguments
        return _checked(data, known, path, f"one of {', '.join(map(repr, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, data, path)
    if origin is tuple:
        return _tuple(arguments, data, path)
    if origin in (dict, Mapping):
        _checked(data, isinstance(data, dict), path, "an object")
        return {
            _plain(str, key, f"{path}, a key"): _parse(arguments[1], item, f"{path}.{key}")
            for key, item in data.items()
        }
    return _plain(kind, data, path)


def _union(members: tuple[Any, ...], data: Any, path: str) -> Any:
    """Parse the data as the first member that fits it; if only one member is not null, its own error is raised."""
    if data is None and type(None) in members:
        return None
    inner = [member for member in members if member is not type(None)]
    if len(inner) == 1:
        return _parse(inner[0], data, path)
    for member in inner:
        try:
            return _parse(member, data, path)
        except BundleError:
            continue
    return _checked(data, False, path, " or ".join(_words(member) for member in members))


def _words(kind: Any) -> str:
    """Return the name of a type in messages."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(kind) or str(getattr(kind, "__name__", kind))


def _plain(kind: Any, data: Any, path: str) -> Any:
    if kind is float:
        _checked(data, isinstance(data, int | float) and not isinstance(data, bool), path, "a number")
        _checked(data, abs(data) < LARGEST if isinstance(data, int) else math.isfinite(data), path, "a finite number")
        return float(data)
    _checked(data, type(data) is kind, path, _words(kind))
    if kind is int:
        _checked(data, abs(data) < LARGEST, path, "a whole number of 64 bits")
    elif kind is str:
        _checked(data, is_unicode(data), path, "a text of whole characters")
    return data


def _tuple(arguments: tuple[Any, ...], data: Any, path: str) -> tuple[Any, ...]:
    _checked(data, isinstance(data, list), path, "a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        if arguments[0] in (int, str) and all(type(item) is arguments[0] for item in data) and _harmless(data):
            # Lists of a number or a name for every photo or class are long, and nothing in them needs converting.
            return tuple(data)
        return tuple(_parse(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(data))
    _checked(data, len(data) == len(arguments), path, f"a list of {len(arguments)}")
    return tuple(_parse(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(arguments, data, strict=True)))


def _harmless(data: list[Any]) -> bool:
    """Whether each number of a list fits 64 bits, or each text is Unicode; one look at the whole list is enough."""
    if data and isinstance(data[0], str):
        return is_unicode("".join(data))
    return not data or -LARGEST < min(data) <= max(data) < LARGEST


def _dataclass(kind: Any, data: Any, path: str) -> Any:
    _checked(data, isinstance(data, dict), path, "an object")
    hints, known = _members(kind)
    for name in data:
        if name not in known:
            raise BundleError(f"{path}.{name}: is not a field that this version of xedge knows")
    values = {}
    for name, field in known.items():
        if name in data:
            values[name] = _parse(hints[name], data[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise BundleError(f"{path}.{name}: is missing")
    try:
        return kind(**values)
    except (ValueError, OverflowError) as error:
        raise BundleError(f"{path}: {error}") from error


@functools.cache
def _members(kind: Any) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """Return the types and the fields of a dataclass by name; evaluating annotations is slow, and lists are long."""
    return typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}


def _checked(data: Any, good: bool, path: str, expected: str) -> Any:
    if not good:
        raise BundleError(f"{path}: should be {expected}, but is {_quoted(data)}")
    return data


def _quoted(data: Any) -> str:
    try:
        return repr(str(data)[:60])
    except (ValueError, RecursionError):  # A whole number may be too long to print, and a list nested too deep.
        return "something that is too long to print"
