"""A machine of a fleet: its name, and how ssh reaches it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xedge.remote.conversation import Switchboard
from xedge.remote.ssh import Ssh, ssh_program


@dataclass(frozen=True, kw_only=True)
class Address:
    """One machine of a fleet.

    Args:
        name: The name that the user knows it by.
        destination: ``user@host``, or a name from the user's ssh configuration.
        options: More options for ssh.
        python: The name of the Python program on that machine.
    """

    name: str
    destination: str
    options: tuple[str, ...] = ()
    python: str = "python3"

    def ssh(self, switchboard: Switchboard, options: Sequence[str] = ()) -> Ssh:
        """Return the connection to the machine.

        Args:
            switchboard: What ends its conversations from another thread.
            options: More options for ssh, before those of the machine.

        Raises:
            InputError: The destination is not one.
            UsageError: The environment variables about ssh are wrong.
        """
        return Ssh(
            destination=self.destination,
            program=(*ssh_program(), *options, *self.options),
            python=self.python,
            switchboard=switchboard,
        )
