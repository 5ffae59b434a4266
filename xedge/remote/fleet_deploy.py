"""Make several machines ready at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from xedge.remote.address import Address
from xedge.remote.deploy import Deployment, Package, deploy_there
from xedge.remote.failure import Failure
from xedge.remote.fleet import AT_ONCE, Stage, exit_code_of, on_all

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DeployedMachine:
    """One machine of the fleet, and whether it is ready.

    Args:
        name: The name of the machine, which no other has.
        deployment: What is there now; None if the machine is not ready.
        failure: Why the machine is not ready; None if it is.
        transcript: The stages of the work there.
    """

    name: str
    deployment: Deployment | None
    failure: Failure | None
    transcript: tuple[Stage, ...]


@dataclass(frozen=True, kw_only=True)
class FleetDeployment:
    """Several machines that were made ready.

    Args:
        schema: The kind of this document and its version.
        machines: The machines, in the order in which they were named.
    """

    schema: Literal["xedge.deploy-fleet/1"] = "xedge.deploy-fleet/1"
    machines: tuple[DeployedMachine, ...]

    @property
    def failures(self) -> dict[str, Failure]:
        """Why machines are not ready, by their names."""
        return {machine.name: machine.failure for machine in self.machines if machine.failure is not None}

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return exit_code_of([one.failure.exit_code if one.failure is not None else 0 for one in self.machines])


def deploy_to_all(
    addresses: Sequence[Address],
    package: Package,
    at_once: int = AT_ONCE,
    report: Report = lambda line: None,
) -> FleetDeployment:
    """Make several machines ready at once.

    Args:
        addresses: The machines.
        package: What to send.
        at_once: The greatest number of machines to work on at the same time.
        report: A function that is told one line for each stage, with the name of the machine.
    """
    outcomes = on_all(addresses, lambda ssh, say: deploy_there(ssh, package, say), at_once, report)
    return FleetDeployment(
        machines=tuple(
            DeployedMachine(
                name=one.address.name, deployment=one.result, failure=one.failure, transcript=one.transcript
            )
            for one in outcomes
        )
    )
