"""What the layers of Keras 2's configuration are called with: tensors by the names of layers, and constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CONSTANT = "_CONSTANT_VALUE"
# What each call of a layer returned, by the layer's name and the number of the call.
Made = dict[tuple[str, int], list[Any]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a layer.

    Args:
        given: The first argument: an entry of the configuration, or lists and dictionaries of entries.
        named: The other arguments, in which tensors are named too.
    """

    given: Any
    named: dict[str, Any]

    def places(self) -> list[tuple[str, int]]:
        """Return the tensors that the call reads: the layers' names, and the numbers of their calls."""
        return [*_entry_places(self.given), *_named_places(self.named)]

    def run(self, function: Callable[..., Any], made: Made) -> list[Any]:
        """Return the results of calling a function, given those of the calls before."""
        given, named = _of_entries(self.given, made), _of_value(self.named, made)
        # A layer's call may name its only argument.
        result = function(**named) if given is None else function(given, **named)
        return list(result) if isinstance(result, list | tuple) else [result]


def calls_of(layer: dict[str, Any]) -> list[Call]:
    """Return the calls of a layer of the configuration."""
    return [_call(node) for node in layer.get("inbound_nodes", ())]


def _call(node: Any) -> Call:
    given = node[0] if isinstance(node, list) and len(node) == 1 and not _is_entry(node) else node
    first = next(_entries(node), None)
    named = dict(first[3]) if first is not None and len(first) > 3 else {}
    # Keras 2 names operations and masks sequences; None is what each function takes by itself.
    kept = {key: value for key, value in named.items() if key not in ("name", "mask") and value is not None}
    return Call(given=given, named=kept)


def _is_entry(value: Any) -> bool:
    """Whether a value names a tensor or gives a constant, with the other arguments behind it or without."""
    return isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str) and isinstance(value[1], int)


def _entries(value: Any) -> Iterator[list[Any]]:
    if _is_entry(value):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _entries(one)


def _entry_places(value: Any) -> Iterator[tuple[str, int]]:
    for entry in _entries(value):
        if entry[0] != CONSTANT:
            yield entry[0], entry[1]


def _of_entries(value: Any, made: Made) -> Any:
    if _is_entry(value):
        return value[2] if value[0] == CONSTANT else made[value[0], value[1]][value[2]]
    if isinstance(value, dict):
        return {key: _of_entries(one, made) for key, one in value.items()}
    return [_of_entries(one, made) for one in value]


def is_place(value: Any) -> bool:
    """Return whether a value names a tensor: the layer, the number of the call, and that of the result."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(isinstance(one, int) and not isinstance(one, bool) for one in value[1:])
    )


def _named_places(value: Any) -> Iterator[tuple[str, int]]:
    if is_place(value):
        yield value[0], value[1]
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _named_places(one)


def _of_value(value: Any, made: Made) -> Any:
    if is_place(value) and (value[0], value[1]) in made:
        return made[value[0], value[1]][value[2]]
    if isinstance(value, dict):
        return {key: _of_value(one, made) for key, one in value.items()}
    if isinstance(value, list):
        return [_of_value(one, made) for one in value]
    return value
