"""Hostile values, texts, names and bytes, drawn with a seed."""

from __future__ import annotations

import json
import random
from typing import Any

# What stands for a string that names something: names of files, classes, layers, tensors, machines.
NAMES = (
    "",
    " ",
    ".",
    "..",
    "../outside",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "-rf",
    "--help",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x00",
    "bell\x07",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\ufeffbom",
    "\u2028line",
    "\x85next",
    "\x7f",
    "é",
    "日本語",
    "🧢",
    "e\u0301",
    "\ud800",
    "caf\udce9",
    "$x$",
    "$\\frac{1}{",
    "<script>alert(1)</script>",
    "&amp;\"'",
    "]]>",
    "{{7*7}}",
    "%s%n",
    "|pipe|",
    "`id`",
    "$(id)",
    "x" * 300,
    "nul",
    "con",
    "con.txt",
    "NaN",
    "null",
    "True",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    1 << 31,
    1 << 63,
    -(1 << 63),
    10**400,
    0.0,
    -0.5,
    0.5,
    1e300,
    -1e300,
    1e-320,
    float("inf"),
    float("-inf"),
    float("nan"),
    [],
    {},
    [[]],
    [None],
    {"": None},
    [1, 2, 3, 4, 5],
    "0",
    "text",
    *NAMES[:12],
)


def nested(depth: int) -> list[Any]:
    """Return a list in a list, so many times."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document; of a long list only those of its first entries."""
    found = [path] if path else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += places(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data[:3]):
            found += places(value, (*path, index))
    return found


def changed(data: Any, draw: random.Random) -> Any:
    """Return a copy of a document in which one to three things are wrong."""
    data = json.loads(json.dumps(data))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        path = draw.choice(places(data))
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        _change(holder, path[-1], draw)
    return data


def _change(holder: Any, key: Any, draw: random.Random) -> None:
    kind = draw.choice(("value", "value", "value", "name", "near", "remove", "add", "other"))
    if kind == "remove":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[draw.choice(NAMES)] = draw.choice(VALUES)
    elif kind == "add" or (kind == "other" and isinstance(holder[key], list)):
        holder[key] = [holder[key]] * draw.choice((2, 3, 1000))
    elif kind == "near" and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = draw.choice((holder[key] + 1, -holder[key], holder[key] * 1000, holder[key] / 3))
    elif kind == "name" and isinstance(holder[key], str):
        holder[key] = draw.choice((draw.choice(NAMES), holder[key] + draw.choice(NAMES), holder[key].upper()))
    else:
        holder[key] = draw.choice(VALUES)


def text(data: Any, draw: random.Random) -> bytes:
    """Return a document as JSON, sometimes with what is wrong with the text rather than with the values."""
    whole = json.dumps(data).encode()
    kind = draw.randrange(14)
    if kind == 0:
        return whole[: draw.randrange(len(whole))]
    if kind == 1:
        return b"\xef\xbb\xbf" + whole
    if kind == 2:
        return whole.decode().encode("utf-16")
    if kind == 3:
        return whole + draw.choice((b"}", b"\x00", b"\xff\xfe", b" ", whole))
    if kind == 4:
        return b"[" * 100_000
    if kind == 5:
        return draw.choice((b"", b"null", b"[]", b"{}", b"0", b'""', b"9" * 10_000, b"NaN", b"\x00" * 64, b"\xff" * 64))
    if kind == 6:
        return flipped(whole, draw, 1 + draw.randrange(8))
    return whole


def flipped(data: bytes, draw: random.Random, count: int) -> bytes:
    """Return bytes of which a few bits are flipped."""
    found = bytearray(data)
    for _ in range(count if found else 0):
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return bytes that are cut off, flipped, repeated, overwritten or others altogether."""
    kind = draw.randrange(8)
    if kind == 0:
        return data[: draw.randrange(len(data) + 1)]
    if kind == 1:
        return b""
    if kind == 2:
        return bytes(draw.randrange(256) for _ in range(min(len(data), 2000)))
    if kind == 3:
        at = draw.randrange(len(data) + 1)
        return data[:at] + data[at : at + 100] + data[at:]
    if kind == 4:
        at = draw.randrange(len(data) + 1)
        return data[:at] + bytes(draw.choice((0, 255)) for _ in range(1)) * min(64, len(data)) + data[at + 64 :]
    return flipped(data, draw, draw.choice((1, 2, 8, 64)))
