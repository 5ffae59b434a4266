"""What the agent on the other machine answers, and how its answers are checked before anything in them is believed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from xedge.codec import from_json
from xedge.errors import BundleError

T = TypeVar("T")
VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}")


@dataclass(frozen=True, kw_only=True)
class State:
    """What the other machine is, and what it has.

    Args:
        python: The version of Python there, such as ``3.11``.
        machine: The architecture of the machine, as ``uname -m`` prints it.
        have: The positions of the files that are there, counted in the order in which the request names them.
        works: Whether the virtual environment there is complete and can import xedge; None if this was not asked.
    """

    python: str
    machine: str
    have: tuple[int, ...]
    works: bool | None

    def __post_init__(self) -> None:
        if not VERSION.fullmatch(self.python):
            raise ValueError(f"python should be a version such as 3.11, but is {self.python[:60]!r}")

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Python as numbers."""
        return tuple(map(int, self.python.split(".")))


@dataclass(frozen=True, kw_only=True)
class Done:
    """The agent did what was asked, and there is nothing more to say about it."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A program ran on the other machine.

    Args:
        code: The exit code, negative if a signal ended the program.
        out: What the program printed to standard output.
        err: What the program printed to standard error.
    """

    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The agent could not do what was asked.

    Args:
        refused: One line that says why.
    """

    refused: str


def parsed(kind: type[T], data: bytes | str) -> tuple[T, Any]:
    """Return a JSON document of the other machine as a value of a type, and as plain values.

    Args:
        kind: The type, such as a dataclass.
        data: The document.

    Raises:
        BundleError: The document is not JSON, or does not have this type; the message gives the path.
    """
    values = _plain(data)
    try:
        return from_json(kind, values), values
    except OverflowError:
        raise BundleError("a number in it is too large") from None


def _plain(data: bytes | str) -> Any:
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        values = json.loads(text, parse_constant=_constant)
        # Halves of surrogate pairs and numbers such as 1e999 are taken by json.loads, but not by what reads them later.
        json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except RecursionError:
        raise BundleError("it is nested too deeply") from None
    except ValueError as error:
        raise BundleError(f"it is not JSON: {error}") from None
    return values


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
