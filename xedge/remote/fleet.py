"""Do the same on several machines at once: what fails on one of them harms no other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from xedge.errors import SOME_FAILED, ResourceError, UsageError, XedgeError, brief, parameter, refusal
from xedge.remote.address import Address
from xedge.remote.conversation import Switchboard
from xedge.remote.failure import Failure
from xedge.remote.ssh import Ssh

Report = Callable[[str], None]
T = TypeVar("T")
# OpenSSH servers begin to drop connections when ten are logging in, which matters if all go through one jump host.
AT_ONCE = 8
# Several programs that ask for passwords on one terminal would take each other's answers.
NO_QUESTIONS = ("-o", "BatchMode=yes")
FAULT = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the work on a machine.

    Args:
        at_s: When it was told, in seconds from the beginning of the work on this machine.
        line: What was told, as one line.
    """

    at_s: float
    line: str


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[T]):
    """What became of the work on one machine.

    Args:
        address: The machine.
        result: The result; None if there is none.
        failure: Why there is no result; None if there is one.
        transcript: The stages of the work.
    """

    address: Address
    result: T | None
    failure: Failure | None
    transcript: tuple[Stage, ...]


def on_all(
    addresses: Sequence[Address],
    work: Callable[[Ssh, Report], T],
    at_once: int = AT_ONCE,
    report: Report = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome[T]]:
    """Do the same work on several machines at once, and return what became of it in the order of the machines.

    Args:
        addresses: The machines, one or more.
        work: The work on one machine; it is given the connection and a function for its stages.
        at_once: The greatest number of machines to work on at the same time.
        report: A function that is told one line for each stage, with the name of the machine; never by two at once.
        clock: The time in seconds.

    Raises:
        InputError: What is named is not a destination of ssh.
        UsageError: The environment variables about ssh are wrong, or no machine could be worked on at once.
    """
    if at_once < 1:
        raise UsageError(f"{parameter('at_once')} {at_once}: give at least 1")
    switchboard, told = Switchboard(), threading.Lock()
    options = NO_QUESTIONS if len(addresses) > 1 else ()
    connections = [address.ssh(switchboard, options) for address in addresses]
    width = max(len(address.name) for address in addresses)

    def one(address: Address, ssh: Ssh) -> Outcome[T]:
        began, stages = clock(), []

        def say(line: str) -> None:
            stages.append(Stage(at_s=clock() - began, line=line))
            with told:
                report(f"{address.name:<{width}}  {line}")

        result, failure = _tried(lambda: work(ssh, say), ssh.destination)
        say("done" if failure is None else f"FAILED     {failure.message}")
        return Outcome(address=address, result=result, failure=failure, transcript=tuple(stages))

    with ThreadPoolExecutor(min(at_once, len(addresses)), thread_name_prefix="board") as pool:
        futures = [pool.submit(one, address, ssh) for address, ssh in zip(addresses, connections, strict=True)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            # The threads would go on for as long as their machines do.
            pool.shutdown(wait=False, cancel_futures=True)
            switchboard.end()
            raise


def _tried(work: Callable[[], T], destination: str) -> tuple[T | None, Failure | None]:
    """Return the result of the work or why it failed; the machine is named beside it, and not once more within."""
    try:
        return work(), None
    except XedgeError as error:
        return None, Failure(message=str(error).removeprefix(f"{destination}: "), exit_code=error.exit_code)
    except OSError as error:
        return None, Failure(message=refusal(error), exit_code=ResourceError.exit_code)
    except Exception as error:  # A fault on one machine must not lose the reports of the others.
        log.exception("the work on %s failed", destination)
        words = f"a fault of xedge's own ({type(error).__name__}: {brief(error)}); please report it"
        return None, Failure(message=words, exit_code=FAULT)


def exit_code_of(codes: Sequence[int]) -> int:
    """Return the exit code of a command on several machines.

    Args:
        codes: The exit code of each machine.
    """
    if all(codes):
        return max(codes)
    return SOME_FAILED if any(codes) else 0
