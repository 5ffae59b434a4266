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


def wrong_network(data: bytes, draw: random.Random) -> bytes:
    """Return an ONNX file that is well-formed, and in which one to three things are wrong."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    for _ in range(draw.choice((1, 1, 2, 3))):
        node = draw.choice(graph.node)
        tensor = draw.choice(graph.initializer)
        way = draw.randrange(12)
        if way == 0:
            tensor.dims[:] = [draw.choice((0, -1, 1, 3, 1 << 40)) for _ in tensor.dims]
        elif way == 1:
            tensor.raw_data = damaged(tensor.raw_data, draw)
        elif way == 2:
            tensor.data_type = draw.choice((0, 1, 3, 7, 8, 10, 16, 99))
        elif way == 3:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            where = draw.choice(("../outside", "/etc/passwd", "missing.bin", "", "/dev/zero", "tiny.onnx"))
            for key, value in (("location", where), ("offset", draw.choice(("0", "-1", "x", "9" * 30)))):
                tensor.external_data.add(key=key, value=value)
        elif way == 4:
            node.op_type = draw.choice((*NAMES[:20], "Loop", "If", "NonMaxSuppression", "LSTM", "Einsum", "Conv"))
        elif way == 5:
            names = [draw.choice([*NAMES[:28], tensor.name, node.output[0]]) for _ in range(draw.randrange(4))]
            node.input[:] = [name for name in names if name != "\ud800"]
        elif way == 6:
            node.output[:] = [draw.choice(graph.node).output[0]]
        elif way == 7:
            graph.node.remove(node)
        elif way == 8 and node.attribute:
            attribute = draw.choice(node.attribute)
            attribute.ints[:] = [draw.choice((0, -1, 1, 2, 3, 1 << 40)) for _ in range(draw.randrange(6))]
            attribute.i = draw.choice((0, -1, 1, 2, 1 << 62))
            attribute.f = draw.choice((float("nan"), float("inf"), -1e30, 0.0))
        elif way == 9:
            shape = graph.input[0].type.tensor_type.shape
            for dim in shape.dim:
                if draw.random() < 0.5:
                    dim.dim_value = draw.choice((0, -1, 1, 3, 1 << 40))
        elif way == 10:
            model.opset_import[0].version = draw.choice((0, -1, 6, 11, 999))
        else:
            draw.choice((graph.input, graph.output)).add().CopyFrom(draw.choice((*graph.input, *graph.output)))
        if not graph.node:
            break
    return bytes(model.SerializeToString())


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
