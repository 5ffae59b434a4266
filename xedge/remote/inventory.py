"""Read the machines of an Ansible inventory in INI format.

What is read is how each host is reached: its address, port, user, key, further options of ssh, and Python. Other
variables are for playbooks and are left alone. Variables of groups go by Ansible's order: ``all``, then parents before
children, and among groups of one depth by the alphabet; those of the host itself come last.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xedge.errors import InputError
from xedge.files import read_text
from xedge.remote.address import Address

LARGEST_BYTES = 1 << 20
# More hosts than this are a slip in a range such as [1:99999].
MOST_HOSTS = 1000
ALL, UNGROUPED = "all", "ungrouped"
HEADER = re.compile(r"\[([^\[\]:]+)(?::(vars|children))?\]\s*(?:[#;].*)?")
RANGE = re.compile(r"\[(\w+):(\w+)(?::([1-9][0-9]*))?\]")
# What Ansible means by these is that it looks for a Python itself.
FOUND_BY_ANSIBLE = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent")
# The older names of variables come first, so that the newer ones win.
USED = {
    "ansible_ssh_host": "host",
    "ansible_host": "host",
    "ansible_ssh_port": "port",
    "ansible_port": "port",
    "ansible_ssh_user": "user",
    "ansible_user": "user",
    "ansible_private_key_file": "key",
    "ansible_ssh_private_key_file": "key",
    "ansible_ssh_common_args": "common",
    "ansible_ssh_extra_args": "extra",
    "ansible_python_interpreter": "python",
    "ansible_connection": "connection",
}
Variables = dict[str, str]


@dataclass(kw_only=True)
class _Group:
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: Variables = field(default_factory=dict)


@dataclass(kw_only=True)
class _Inventory:
    groups: dict[str, _Group] = field(default_factory=dict)
    hosts: dict[str, Variables] = field(default_factory=dict)

    def group(self, name: str) -> _Group:
        return self.groups.setdefault(name, _Group())


class _LineError(Exception):
    """What is wrong with a line of an inventory, in words."""


def read_inventory(path: Path) -> list[Address]:
    """Return the hosts of an inventory, in the order in which they are first named.

    Args:
        path: The inventory in INI format.

    Raises:
        InputError: The file cannot be read, is not in this format, or names no host; the message names the line.
    """
    try:
        lines = read_text(path, LARGEST_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an inventory ({error}); give a file in INI format") from error
    found = _parsed(path, lines)
    if not found.hosts:
        raise InputError(f"{path}: names no host; an inventory has one on each line, below its [group]")
    depths = _depths(path, found)
    return [_address(path, name, _variables(found, depths, name)) for name in found.hosts]


def _parsed(path: Path, lines: Sequence[str]) -> _Inventory:
    found, section, kind = _Inventory(), UNGROUPED, None
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line[0] in "#;":
            continue
        header = HEADER.fullmatch(line)
        try:
            if header is not None:
                section, kind = header[1], header[2]
                found.group(section)
            elif kind == "vars":
                name, value = _assignment(line)
                found.group(section).variables[name] = value
            elif kind == "children":
                found.group(section).children[_words(line)[0]] = None
            else:
                _add_hosts(found, section, line)
        except _LineError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    for name, group in found.groups.items():
        for child in sorted(group.children.keys() - found.groups.keys()):
            raise InputError(f"{path}: [{name}:children] names {child!r}, but there is no such group")
    return found


def _words(line: str) -> list[str]:
    """Return the words of a line, without its comment."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise _LineError(f"a quotation mark is not closed ({error})") from None
    if not words:
        raise _LineError("has no words")
    return words


def _assignment(line: str) -> tuple[str, str]:
    name, equals, value = line.partition("=")
    if not equals:
        raise _LineError(f"{line[:80]!r} is not a variable; write NAME=VALUE")
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return name.strip(), value


def _add_hosts(found: _Inventory, section: str, line: str) -> None:
    pattern, *rest = _words(line)
    if not pattern.strip():
        raise _LineError("the host has no name; begin the line with its name or its address")
    if pattern == "---" or pattern.endswith(":") or pattern.startswith("{"):
        raise _LineError("is not in INI format, but YAML or JSON; write one host on each line, below its [group]")
    variables = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            raise _LineError(f"{word[:80]!r} is not a variable; write NAME=VALUE")
        variables[name] = value
    port = re.fullmatch(r"([^:]+|[^:\[]*\[.*\][^:]*):([0-9]+)", pattern)
    if port is not None:
        pattern, variables = port[1], {"ansible_port": port[2], **variables}
    for name in _expanded(pattern):
        found.hosts.setdefault(name, {}).update(variables)
        found.group(section).hosts[name] = None
        if len(found.hosts) > MOST_HOSTS:
            raise _LineError(f"there are more than {MOST_HOSTS} hosts up to here; is a range too long?")


def _expanded(pattern: str) -> Iterator[str]:
    """Yield the names that a pattern stands for: ``pi[01:03]`` is pi01, pi02 and pi03, as Ansible counts."""
    span = RANGE.search(pattern)
    if span is None:
        yield pattern
        return
    for middle in _counted(span[1], span[2], int(span[3] or 1)):
        yield from _expanded(f"{pattern[: span.start()]}{middle}{pattern[span.end() :]}")


def _counted(first: str, last: str, step: int) -> Iterator[str]:
    if first.isdecimal() and last.isdecimal():
        width = len(first) if first.startswith("0") else 0
        names = (f"{number:0{width}}" for number in range(int(first), int(last) + 1, step))
    elif len(first) == len(last) == 1 and first.isalpha() and last.isalpha():
        names = (chr(number) for number in range(ord(first), ord(last) + 1, step))
    else:
        raise _LineError(f"[{first}:{last}] is not a range; write [1:9], [01:09] or [a:f]")
    start = next(names, None)
    if start is None:
        raise _LineError(f"[{first}:{last}] is a range of nothing; write the smaller end first")
    return itertools.chain((start,), names)


def _depths(path: Path, found: _Inventory) -> dict[str, int]:
    """Return how deep each group lies below ``all``, by the longest way.

    Raises:
        InputError: A group is among its own children.
    """
    depths = {name: 0 if name == ALL else 1 for name in found.groups}
    # Without a circle, no way is longer than the number of groups.
    for _ in range(len(depths) + 1):
        deeper = {
            child: depths[name] + 1
            for name, group in found.groups.items()
            for child in group.children
            if depths[child] <= depths[name]
        }
        if not deeper:
            return depths
        depths |= deeper
    raise InputError(f"{path}: [{next(iter(deeper))}] is among its own children; remove one of the [...:children]")


def _variables(found: _Inventory, depths: dict[str, int], host: str) -> Variables:
    """Return the variables of a host, with those of its groups."""
    above = {name for name, group in found.groups.items() if host in group.hosts} | ({ALL} & found.groups.keys())
    while more := {name for name, group in found.groups.items() if above & group.children.keys()} - above:
        above |= more
    merged: Variables = {}
    for name in sorted(above, key=lambda name: (depths[name], name)):
        merged |= found.groups[name].variables
    return merged | found.hosts[host]


def _address(path: Path, name: str, variables: Variables) -> Address:
    """Return how a host is reached.

    Raises:
        InputError: A variable has a value that only Ansible can work out, or that is wrong.
    """
    known = {USED[key]: variables[key] for key in USED if variables.get(key)}
    for key, value in known.items():
        if "{{" in value:
            raise InputError(f"{path}: {name}: the {key} is {value!r}, which only Ansible can fill in; write it out")
    if known.get("connection", "ssh") not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        raise InputError(f"{path}: {name}: ansible_connection is {known['connection']!r}, but xedge only uses ssh")
    if not re.fullmatch("[0-9]{1,5}", known.get("port", "22")):
        raise InputError(f"{path}: {name}: the port is {known['port']!r}, which is not a number")
    options = [*(("-p", known["port"]) if "port" in known else ())]
    if "key" in known:
        options += ["-i", os.path.expanduser(known["key"])]  # noqa: PTH111 - a path for ssh, which may have any form
    for kind in ("common", "extra"):
        options += _options(path, name, known.get(kind, ""))
    host = known.get("host", name)
    python = known.get("python", "python3")
    return Address(
        name=name,
        destination=f"{known['user']}@{host}" if "user" in known else host,
        options=tuple(options),
        python="python3" if python in FOUND_BY_ANSIBLE else python,
    )


def _options(path: Path, name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"{path}: {name}: the options for ssh are not a command line ({error})") from None
