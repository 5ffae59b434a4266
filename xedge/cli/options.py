"""Options on the command line: made of the dataclasses that define them, and named for messages."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from xedge.cli import values
from xedge.conversion.options import Option, documented
from xedge.errors import UsageError, parameter


def add_options(
    parser: argparse.ArgumentParser,
    options: type,
    only: Collection[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add an option to a parser for each field of a dataclass of options, in a group for each class that has it.

    Args:
        parser: The command's parser.
        options: The dataclass.
        only: The names of the fields to take; None takes all.
        defaults: The command's own defaults by the names of their fields, which are then not required.
    """
    fields = {one.name: one for one in dataclasses.fields(options)}
    for part in options.__mro__[:-1]:
        own = [fields[name] for name in fields if name in inspect.get_annotations(part)]
        group = None
        for one in own:
            known = documented(options)[one.name]
            if known.flag == "" or (only is not None and one.name not in only) or fields.pop(one.name, None) is None:
                continue
            if not one.kw_only:
                nargs = None if one.default is dataclasses.MISSING else "?"
                parser.add_argument(one.name, nargs=nargs, metavar=known.metavar, help=known.words)
                continue
            group = group or parser.add_argument_group(_title(part))
            _add(group, one, known, (defaults or {}).get(one.name, one.default))


def _title(part: type) -> str:
    words = (part.__doc__ or "").splitlines()[0].rstrip(".")
    return words[:1].lower() + words[1:]


def _add(group: argparse._ArgumentGroup, one: dataclasses.Field[Any], known: Option, default: Any) -> None:
    required = default is dataclasses.MISSING
    named: dict[str, Any] = {"dest": one.name, "help": known.words}
    if known.kind == "switch":
        named["action"] = "store_true"
    else:
        named["type"] = {"text": str, "int": int, "Path": Path}.get(known.kind) or getattr(values, known.kind)
        named |= {"required": required, "choices": known.choices, "metavar": known.metavar}
        if not required:
            named["default"] = default
            if default is not None:
                named["help"] += " (default: %(default)s)"
    group.add_argument(known.flag or f"--{one.name.replace('_', '-')}", **named)


def chosen(namespace: argparse.Namespace, options: type) -> dict[str, Any]:
    """Return the arguments that a parsed command line gives for a dataclass of options, by the fields' names."""
    return {name: getattr(namespace, name) for name in documented(options) if name in namespace}


def refuse_idle(namespace: argparse.Namespace, parser: argparse.ArgumentParser, names: Sequence[str], why: str) -> None:
    """Refuse options that would have no effect.

    Args:
        namespace: The parsed command line.
        parser: The command's parser, which has the options' defaults.
        names: The destinations of the options.
        why: Why they have none, such as "with --plan".

    Raises:
        UsageError: One of them was given.
    """
    for name in names:
        if getattr(namespace, name) not in (parser.get_default(name), []):
            raise UsageError(f"{parameter(name)} has no effect {why}; leave it out")


def option_called(parsers: Collection[argparse.ArgumentParser], name: str) -> str:
    """Return what an argument of the Python API is called on the command line.

    Args:
        parsers: The parsers to look in, the command's own first.
        name: The argument's name in Python.
    """
    for parser in parsers:
        for action in parser._actions:
            if action.dest == name:
                return action.option_strings[0] if action.option_strings else str(action.metavar or name)
    return name


def passed_on(named: Mapping[str, object]) -> list[str]:
    """Return the words of options that go on to another machine's command line.

    Args:
        named: The values by the names of their options; those that are None were not given.
    """
    return [word for name, value in named.items() if value is not None for word in (name, str(value))]
