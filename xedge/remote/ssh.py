"""Use the system's own ssh, with the user's configuration, agent, jump hosts and known hosts.

Python on the other machine is started with a small program that says that it is ready; then the agent and the request
are sent to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import IO, Any, TypeVar

from xedge.errors import BundleError, ConnectionLostError, InputError, ResourceError, UsageError
from xedge.remote.answers import Refused, parsed
from xedge.remote.conversation import HEARTBEAT_S, SILENT, Conversation, Feed, Limits, LostError, Switchboard

# A lost connection is noticed within a minute, and a host that does not answer within 20 s. No terminal and no command
# of the user's configuration takes the place of the agent.
OPTIONS = (
    *("-T", "-o", "RemoteCommand=none"),
    *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ConnectTimeout=20"),
)
# The exit code of ssh itself if the connection fails.
SSH_FAILED = 255
# Python on the other machine says that it is ready and reads the agent; the rest of standard input is left to the
# agent. This is one line without exclamation marks, because csh expands those, and does not take several lines.
BOOTSTRAP = (
    "import hashlib, io, os, sys; marker, size, digest = sys.argv[1:4]; "
    r'os.write(1, ("\n%s ready\n" % marker).encode()); '
    "source = io.BufferedReader(io.FileIO(0, closefd=False), 1).read(int(size)); "
    "hashlib.sha256(source).hexdigest() == digest or sys.exit('the request did not arrive whole; does something in the "
    "login shell there read standard input?'); exec(compile(source, 'xedge-agent', 'exec'))"
)
T = TypeVar("T")


def ssh_program() -> Sequence[str]:
    """Return the ssh program that the environment names.

    Raises:
        UsageError: The variable is not a command line.
    """
    try:
        return shlex.split(os.environ.get("XEDGE_SSH", "")) or ["ssh"]
    except ValueError as error:
        raise UsageError(f"XEDGE_SSH is not a command line ({error}); correct it, or unset it") from error


def _nothing(pipe: IO[bytes]) -> None:
    del pipe


@dataclass(frozen=True, kw_only=True)
class Ssh:
    """The connection to a machine over ssh.

    Args:
        destination: ``user@host``, or a name from the user's ssh configuration.
        program: The ssh program with its options. The environment variable ``XEDGE_SSH`` replaces it, as
            ``GIT_SSH_COMMAND`` does for git.
        python: The name of the Python program on that machine.
        limits: How long to wait, and how much to take.
        switchboard: What ends the conversations from another thread.
    """

    destination: str
    program: Sequence[str] = field(default_factory=ssh_program)
    python: str = "python3"
    limits: Limits = field(default_factory=Limits.from_environment)
    switchboard: Switchboard = field(default_factory=Switchboard, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.destination or self.destination.startswith("-") or any(c.isspace() for c in self.destination):
            raise InputError(f"{self.destination!r} is not a destination for ssh; give user@host")

    def ask(self, kind: type[T], request: dict[str, Any], feed: Feed = _nothing) -> T:
        """Send a request to the agent on the other machine and return its answer.

        Args:
            kind: The type of the answer.
            request: The request, which is sent as JSON.
            feed: A function that writes to the agent's standard input. The pipe stays open until the answer has
                arrived, so that the agent notices a lost connection.

        Raises:
            ConnectionLostError: The machine cannot be reached, the connection was lost, or what comes back is not an
                answer of the agent.
            InputError: There is no ssh program.
            ResourceError: The agent refused the request.
        """
        marker = secrets.token_hex(16)
        source = resources.files("xedge.remote").joinpath("agent.py").read_text("utf-8")
        interval_s = min(HEARTBEAT_S, self.limits.silence_s / 4)
        call = (
            f"main(json.loads({json.dumps(json.dumps(request))}), {marker!r}, {interval_s}, {self.limits.answer_bytes})"
        )
        program = f"{source}\n\n{call}\n".encode()
        there = [self.python, "-u", "-c", BOOTSTRAP, marker, str(len(program)), hashlib.sha256(program).hexdigest()]
        command = [*self.program, *OPTIONS, "--", self.destination, shlex.join(there)]
        try:
            with (
                Conversation(command, marker, self.limits) as conversation,
                self.switchboard.holding(conversation),
            ):
                conversation.start()
                conversation.send(program, feed)
                data = conversation.answer()
        except FileNotFoundError as error:
            if error.filename != self.program[0]:
                raise
            raise InputError(f"{self.program[0]}: no such program; install the OpenSSH client") from None
        except LostError as lost:
            raise ConnectionLostError(f"{self.destination}: {self._words(lost)}") from lost
        return self._checked(kind, data)

    def _words(self, lost: LostError) -> str:
        """Return what happened to a conversation, in the words of ssh or of the other machine if there are any."""
        if lost.what is not None:
            return lost.what
        words = lost.said or f"ssh ended with {lost.code}"
        if lost.code == SSH_FAILED:
            return lost.said or f"{words} and said nothing; try ssh {self.destination} {self.python} --version"
        if lost.started:
            return f"xedge's agent there ended without an answer ({words})"
        if "not found" in words:
            return f"{self.python} was not found there ({words})"
        return f"{self.python} did not start there ({words}); does the login shell end before that? {SILENT}"

    def _checked(self, kind: type[T], data: bytes) -> T:
        """Return the answer as a value of its type."""
        try:
            # A refusal has the one field that no other answer has.
            if data.startswith(b'{"refused":'):
                raise ResourceError(f"{self.destination}: {parsed(Refused, data)[0].refused[:500]}")
            return parsed(kind, data)[0]
        except BundleError as error:
            what = f"its answer is not one of xedge's agent ({str(error)[:300]})"
            raise ConnectionLostError(f"{self.destination}: {what}; look at what {self.python} is there") from error
