"""Use the system's own ssh, with the user's configuration, agent, jump hosts and known hosts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import IO, Any

from xedge.errors import ConnectionLostError, InputError, ResourceError

# With these options, a lost connection is noticed within a minute, and a host that does not answer within 20 s.
OPTIONS = ("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ConnectTimeout=20")
# The exit code of ssh itself if the connection fails.
SSH_FAILED = 255
# Python on the other machine reads the agent's source; the rest of standard input is left to the agent.
BOOTSTRAP = "import sys; n = int(sys.argv[1]); exec(compile(sys.stdin.buffer.read(n), 'xedge-agent', 'exec'))"
HEARTBEAT_S = 10.0
Feed = Callable[[IO[bytes]], None]


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
    """

    destination: str
    program: Sequence[str] = field(default_factory=lambda: shlex.split(os.environ.get("XEDGE_SSH", "")) or ["ssh"])
    python: str = "python3"

    def __post_init__(self) -> None:
        if not self.destination or self.destination.startswith("-") or any(c.isspace() for c in self.destination):
            raise InputError(f"{self.destination!r} is not a destination for ssh; give user@host")

    def ask(self, request: dict[str, Any], feed: Feed = _nothing) -> dict[str, Any]:
        """Send a request to the agent on the other machine and return its answer.

        Args:
            request: The request, which is sent as JSON.
            feed: A function that writes to the agent's standard input. The pipe stays open until the answer has
                arrived, so that the agent notices a lost connection.

        Raises:
            ConnectionLostError: The machine cannot be reached, or the connection was lost.
            InputError: There is no ssh program.
            ResourceError: The agent refused the request.
        """
        source = resources.files("xedge.remote").joinpath("agent.py").read_text("utf-8")
        program = f"{source}\n\nmain(json.loads({json.dumps(json.dumps(request))}))\n".encode()
        there = shlex.join([self.python, "-u", "-c", BOOTSTRAP, str(len(program))])
        command = [*self.program, *OPTIONS, "--", self.destination, there]
        try:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise InputError(f"{self.program[0]}: no such program; install the OpenSSH client") from None
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        # If this is interrupted, standard input is closed, which ends what runs on the other machine.
        with child:
            with suppress(BrokenPipeError):  # The error message of ssh is reported below.
                child.stdin.write(program)
                feed(child.stdin)
                child.stdin.flush()
            with _heartbeat(child.stdin):
                answer = _last_json(child.stdout)
            with suppress(BrokenPipeError):
                child.stdin.close()
            said = child.stderr.read().decode(errors="replace")
        if answer is None:
            raise self._failed(child.returncode, said)
        if "refused" in answer:
            raise ResourceError(f"{self.destination}: {answer['refused']}")
        return answer

    def _failed(self, code: int, said: str) -> ConnectionLostError:
        lines = [line for line in said.splitlines() if line.strip()]
        words = lines[-1].strip() if lines else f"ssh ended with {code}"
        if code != SSH_FAILED and "not found" in words:
            return ConnectionLostError(f"{self.destination}: {self.python} was not found there ({words})")
        return ConnectionLostError(f"{self.destination}: {words}")


@contextmanager
def _heartbeat(pipe: IO[bytes]) -> Iterator[None]:
    """Send a byte every few seconds, so that the agent knows that the connection still holds."""
    stop = threading.Event()

    def beat() -> None:
        with suppress(OSError, ValueError):
            while not stop.wait(HEARTBEAT_S):
                pipe.write(b".")
                pipe.flush()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _last_json(lines: Iterable[bytes]) -> dict[str, Any] | None:
    """Return the answer of the agent; None if there is none. Login scripts may have printed something before it."""
    for line in lines:
        if line.startswith(b"{"):
            try:
                answer: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return answer
    return None
