"""Which machines a fleet consists of: those that are named one by one, and those of an inventory or a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xedge.errors import UsageError, parameter
from xedge.remote.address import Address
from xedge.remote.inventory import read_inventory
from xedge.remote.ssh import ssh_program
from xedge.remote.ssh_config import matching_hosts


def addresses(on: Sequence[str], fleet: str | None) -> tuple[Address, ...]:
    """Return the machines that are named one by one, and then those of a fleet.

    Args:
        on: Destinations of ssh.
        fleet: The path of an Ansible inventory, or a pattern of names in ssh's configuration; None is no fleet.

    Raises:
        UsageError: No machine is named, or one is named twice.
        InputError: There is no such inventory, it cannot be read, or no name matches the pattern.
    """
    found = [Address(name=name, destination=name) for name in on]
    if fleet is not None:
        path = Path(fleet)
        found += read_inventory(path) if path.exists() else matching_hosts(fleet, ssh_program())
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is named twice by {parameter('on')} and {parameter('fleet')}; leave one out")
    if not found:
        raise UsageError(f"no machine is named; give {parameter('on')} or {parameter('fleet')}")
    return tuple(found)
