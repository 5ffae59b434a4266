"""Why a bundle is as fast as it is, on this machine or on another one over ssh, and what would make it faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from xedge.bundle.opening import opened, opened_all
from xedge.explaining.explanation import Explanation, explain_bundle
from xedge.measuring.latency import Schedule
from xedge.measuring.starting import RunOptions
from xedge.remote.deploy import packed
from xedge.remote.explain import explain_there
from xedge.remote.ssh import Ssh

Pathlike = str | Path


def explain(
    bundle: Pathlike,
    *,
    against: Pathlike | None = None,
    threads: int | None = None,
    runtime: str | None = None,
    provider: str | None = None,
    runs: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Explanation:
    """Run a bundle on this machine, name the causes of what is slow, and try the cures that can be tried here.

    Args:
        bundle: The bundle: its folder or its zip.
        against: Another bundle of the same model, usually its fp32, to time in turns with this one.
        threads: The number of threads for one inference; None takes the number of cores, at most 4.
        runtime: The name of the runtime; None takes the first installed one that opens the artifact.
        provider: The processor or backend of the runtime; None takes its CPU.
        runs: The number of inferences to time; None decides by time.
        progress: A function that is told one line as each stage begins.

    Returns:
        What takes the time, and the causes with their cures; without causes there is nothing to mend.

    Raises:
        XedgeError: The bundle is damaged or does not run here.
    """
    options = RunOptions(threads=threads, runtime=runtime, provider=provider, schedule=Schedule(runs=runs))
    with ExitStack() as stack:
        first = stack.enter_context(opened(Path(bundle)))
        other = stack.enter_context(opened(Path(against))) if against is not None else None
        return explain_bundle(first, options, other=other, progress=progress)


def explain_on(
    destination: str,
    bundle: Pathlike,
    *,
    against: Pathlike | None = None,
    wheels: Pathlike | None = None,
    arguments: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> Explanation:
    """Deploy a bundle to another machine over the system's ssh, and explain its latency there.

    Args:
        destination: The machine: ``user@host``, or a name in the user's ssh configuration.
        bundle: The bundle: its folder or its zip.
        against: Another bundle of the same model, usually its fp32, to time in turns with this one.
        wheels: A folder of wheels, for a machine without internet; None lets the machine fetch what it needs.
        arguments: More options of ``xedge explain`` on that machine, such as ``("--threads", "1")``.
        report: A function that is told one line as each stage ends.

    Returns:
        What takes the time there, and the causes with their cures; without causes there is nothing to mend.

    Raises:
        ConnectionLostError: The machine cannot be reached, or the connection was lost.
        XedgeError: The bundle is damaged or does not run there.
    """
    named = [Path(bundle)] if against is None else [Path(bundle), Path(against)]
    with opened_all(named) as bundles, packed(bundles, None, None if wheels is None else Path(wheels)) as package:
        return explain_there(Ssh(destination=destination), package, arguments, report)
