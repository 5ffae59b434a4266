"""``xedge deploy``: make other machines ready to run bundles, over ssh."""

from __future__ import annotations

import argparse

from xedge.bundle.opening import opened_all
from xedge.cli.console import Console, table
from xedge.cli.doctor import findings_text
from xedge.cli.fleet_text import failures_text
from xedge.cli.parser import NO_DESTINATION
from xedge.codec import to_json
from xedge.errors import UsageError, parameter
from xedge.remote.deploy import Package, deploy_there, packed
from xedge.remote.fleet import AT_ONCE
from xedge.remote.fleet_deploy import DeployedMachine, FleetDeployment, deploy_to_all
from xedge.remote.naming import addresses
from xedge.remote.ssh import Ssh


def main(options: argparse.Namespace) -> int:
    """Make one machine ready, or several at once, and say what their doctors say."""
    one = options.destination != NO_DESTINATION
    if one and options.at_once is not None:
        raise UsageError(f"{parameter('at_once')} is for several machines; give {parameter('fleet')} or --on")
    machines = () if one else addresses(options.on, options.fleet)
    console = Console(options.json, options.quiet)
    with opened_all(options.bundles) as bundles, packed(bundles, None, options.wheels) as package:
        if one:
            return _deploy(options.destination, package, console)
        found = deploy_to_all(machines, package, options.at_once or AT_ONCE, console.stage)
    console.result(found, _text(found))
    return found.exit_code


def _deploy(destination: str, package: Package, console: Console) -> int:
    ready = deploy_there(Ssh(destination=destination), package, console.stage)
    about = f"{ready.destination} ({ready.machine}, Python {ready.python}) is ready"
    console.result({"schema": "xedge.deploy/1", **to_json(ready)}, f"{about}\n{findings_text(ready.doctor)}")
    return 0


def _text(found: FleetDeployment) -> str:
    rows = [_row(machine) for machine in found.machines]
    parts = [table(rows, ["machine", "processor", "Python", "doctor", "state"])]
    return "\n\n".join([*parts, *failures_text(found.failures, len(found.failures), len(found.machines))])


def _row(machine: DeployedMachine) -> list[str]:
    if machine.deployment is None:
        return [machine.name, "-", "-", "-", "FAILED"]
    findings = machine.deployment.doctor["findings"]
    counts = [(sum(one["status"] == status for one in findings), status) for status in ("problem", "warning")]
    words = ", ".join(f"{count} {status}{'s' if count > 1 else ''}" for count, status in counts if count)
    ready = machine.deployment
    return [machine.name, ready.machine, ready.python, words or "nothing to mend", "ready"]
