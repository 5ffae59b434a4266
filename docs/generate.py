#!/usr/bin/env python3
"""Write the reference pages from the program: the command line, the JSON documents, the Python API, the exit codes.

    python docs/generate.py            writes them
    python docs/generate.py --check    exits with 1 if one of them is not what the program says

With Python 3.11 or 3.12: argparse of other versions breaks its lines elsewhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

os.environ["COLUMNS"] = "100"  # argparse wraps at the terminal's width
os.environ["NO_COLOR"] = "1"

from pydantic import TypeAdapter

import xedge
from xedge.api.documents import KINDS
from xedge.bundle.manifest import SCHEMA_VERSION, HostConfusion, Manifest
from xedge.cli.parser import parser
from xedge.errors import EXIT_CODES

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the program; change it there. -->"
FILES = {"manifest": "A bundle's manifest.json", "confusion": "A bundle's confusion.json"}
TITLES = {
    "bundle": "A bundle that was made",
    "predict": "The classes of a photo",
    "run": "A run",
    "run-on": "Runs on another machine",
    "run-fleet": "Runs on several machines",
    "verify": "A verification",
    "analyze": "An analysis",
    "evaluate": "An evaluation",
    "evaluate-plan": "A plan of an evaluation",
    "reproduce": "A reproduction",
    "benchmark": "A benchmark",
    "check": "A check of budgets",
    "compare": "A comparison",
    "cost": "A network's cost",
    "doctor": "An examination",
    "explain": "An explanation",
}


def main() -> int:
    """Write the pages, or check them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true")
    check = options.parse_args().check
    stale = []
    for name, text in pages().items():
        path = DOCS / name
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(f"docs/{name} is not what the program says: run python docs/generate.py", file=sys.stderr)
    return 1 if stale else 0


def pages() -> dict[str, str]:
    """Return every generated file's text by its name."""
    found = {
        "reference/cli.md": command_line(),
        "reference/python.md": python(),
        "reference/documents.md": documents(),
        "exit-codes.md": exit_codes(),
    }
    for name, kind in kinds().items():
        found[f"../xedge/schemas/{name}.json"] = json.dumps(schema(name, kind), indent=1) + "\n"
    return found


def command_line() -> str:
    """Return the page of commands, with what ``--help`` prints."""
    parts = [NOTE, "# Command line", "What `xedge --help` and `xedge COMMAND --help` print."]
    top = parser()
    parts.append(f"## xedge\n\n```text\n{top.format_help().rstrip()}\n```")
    commands = next(a for a in top._actions if isinstance(a.choices, dict))
    assert isinstance(commands.choices, dict)
    parts += [
        f"## xedge {name}\n\n```text\n{one.format_help().rstrip()}\n```" for name, one in commands.choices.items()
    ]
    return "\n\n".join(parts) + "\n"


def python() -> str:
    """Return the page of the Python API, from its signatures and docstrings."""
    parts = [NOTE, "# Python", "```python\n" + textwrap.dedent(example()).strip() + "\n```"]
    for name in sorted(set(xedge.__all__) - {"__version__"}, key=lambda one: (one[0].isupper(), one)):
        thing = getattr(xedge, name)
        parts += [f"## xedge.{name}", f"```python\n{signature(name, thing)}\n```", described(thing)]
        if inspect.isclass(thing):
            parts += [member(f"{name}.{at}", one) for at, one in vars(thing).items() if public(at, one)]
    return "\n\n".join(parts) + "\n"


def example() -> str:
    """Return the lines in the package's docstring that show how it is used."""
    return "\n".join(line for line in (xedge.__doc__ or "").splitlines() if line.startswith("    "))


def public(name: str, member: object) -> bool:
    """Whether a member of a class belongs on the page."""
    return not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))


def member(name: str, thing: object) -> str:
    """Return a method or property with what it says of itself."""
    if isinstance(thing, property):
        return f"### {name}\n\n{described(thing)}"
    return f"### {name}\n\n```python\n{signature(name, thing)}\n```\n\n{described(thing)}"


def signature(name: str, thing: Any) -> str:
    """Return a signature, one argument a line where it is long."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"class {name}(Exception)"
    words = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(thing))).replace("Ellipsis", "...")
    words = re.sub(r"<function (<lambda>|_silent) at 0x[0-9a-f]+>", "lambda line: None", words)
    if len(words) < 90:
        return f"{name}{words}"
    inside, _, result = words[1:].rpartition(")")
    arguments = re.split(r", (?![^\[\(]*[\]\)])", inside)
    return f"{name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){result}"


def described(thing: object) -> str:
    """Return a docstring with its sections as lists."""
    lines, section = [], False
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line in ("Args:", "Returns:", "Raises:"):
            lines += ["", f"**{line[:-1]}**", ""]
            section = True
        elif section and line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(": ")
            lines.append(f"- `{name}`: {rest}" if colon else f"- {line.strip()}")
        elif section and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line)
    return re.sub(r"``([^`]+)``", r"`\1`", "\n".join(lines)).strip()


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    return f"""{NOTE}

# Exit codes

Every error is one line on standard error that says what, where and what to do; `--verbose` shows where it came from.

| code | meaning |
|---|---|
{rows}

An INVALID verdict of `xedge run` is part of the report, not an error: the code is 0.
"""


def kinds() -> dict[str, type]:
    """Return the documents by name: those in a bundle, and what commands write with ``--json``."""
    found: dict[str, type] = {"manifest": Manifest, "confusion": HostConfusion}
    for tag, (module, name) in KINDS.items():
        found[name_of(tag)] = getattr(importlib.import_module(module), name)
    return found


def name_of(tag: str) -> str:
    """Return a document's name, which is its tag without ``xedge.`` and without its version."""
    return tag.removeprefix("xedge.").partition("/")[0]


def schema(name: str, kind: type) -> dict[str, Any]:
    """Return a document's JSON Schema; descriptions are those of the dataclasses."""
    made = TypeAdapter(kind).json_schema(mode="serialization")
    classes = {one.__name__: one for one in dataclasses_in(kind)}
    for title, part in [(kind.__name__, made), *made.get("$defs", {}).items()]:
        of = classes.get(title)
        if of is None:
            continue
        part["description"] = summary(of)
        for field, words in fields(of).items():
            if field in part.get("properties", {}):
                part["properties"][field] = {"description": words, **part["properties"][field]}
        part["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identifier(name), **made}


def identifier(name: str) -> str:
    """Return a schema's identifier, an absolute URI that has the version of its document."""
    versions = {name_of(tag): tag.partition("/")[2] for tag in KINDS}
    return f"urn:xedge:schema:{name}:{versions.get(name, SCHEMA_VERSION)}"


def dataclasses_in(kind: Any, known: set[Any] | None = None) -> Iterator[Any]:
    """Yield a dataclass and all those in its fields, each once."""
    known = set() if known is None else known
    for one in [kind, *getattr(kind, "__args__", ())]:
        if dataclasses.is_dataclass(one) and one not in known:
            known.add(one)
            yield one
            hints = inspect.get_annotations(cast("type", one), eval_str=True)
            for hint in hints.values():
                yield from dataclasses_in(hint, known)
        elif one is not kind:
            yield from dataclasses_in(one, known)


def summary(of: type) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split()).replace("``", "")


def fields(of: type) -> dict[str, str]:
    """Return what a docstring says of each field; ``top1, top5: ...`` speaks of both."""
    text = (inspect.getdoc(of) or "").partition("Args:\n")[2]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        opening = re.match(r"    ([a-z0-9_]+(?:, [a-z0-9_]+)*): (.*)", line)
        if opening:
            names = opening.group(1).split(", ")
            found.update(dict.fromkeys(names, opening.group(2)))
        elif line.startswith("     "):
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return {name: words.replace("``", "") for name, words in found.items()}


def documents() -> str:
    """Return the page of JSON documents, each type with its fields."""
    words = """Every document that `--json` writes names itself in `schema`; the number behind the stroke grows when a
field changes its meaning or goes. `null` is unknown or not measured, never zero. Unknown fields are refused. The JSON
Schemas lie in [`docs/schemas`](../schemas/run.json) and in the installed package
(`importlib.resources.files("xedge") / "schemas"`); `$id` has the version of the document. `xedge convert --json` and
`xedge wrap --json` write a list with a document of each bundle, `xedge predict --json` one of each photo, and
`xedge hashes --json` one with `path` and `error` of each bundle. `xedge init --json` writes `path` and `text` of the
file."""
    parts = [NOTE, "# Manifest and JSON documents", words]
    tags = {name_of(tag): tag for tag in KINDS}
    told: set[Any] = set()
    for name, kind in kinds().items():
        title = f"{TITLES[name]}: `{tags[name]}`" if name in tags else FILES[name]
        parts.append(f"## {title}\n\n[JSON Schema](../schemas/{name}.json)")
        for one in dataclasses_in(kind):
            if one not in told:
                told.add(one)
                parts.append(typed(one))
    return "\n\n".join(parts) + "\n"


def typed(of: type) -> str:
    """Return a dataclass as a table."""
    words = fields(of)
    rows = [
        f"| `{name}` | `{plain(hint)}` | {words.get(name, '')} |".replace("|  |", "| |")
        for name, hint in inspect.get_annotations(of).items()
    ]
    return f"### {of.__name__}\n\n{summary(of)}\n\n| field | type | |\n|---|---|---|\n" + "\n".join(rows)


def plain(hint: Any) -> str:
    """Return an annotation as JSON's readers name it."""
    text = str(hint).replace("tuple[", "list[").replace(", ...]", "]").replace("None", "null")
    return text.replace("|", "or").replace("float", "number").replace("Mapping[", "dict[")


if __name__ == "__main__":
    raise SystemExit(main())
