"""Test, time and score bundles, on this machine or on another one over ssh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import EllipsisType

from xedge.bundle.opening import opened, opened_all, photos_for
from xedge.device.cooldown import Cooldown
from xedge.errors import UsageError
from xedge.measuring.latency import Schedule
from xedge.measuring.report import RunReport
from xedge.measuring.run import run_bundle
from xedge.measuring.starting import RunOptions
from xedge.remote.deploy import Package, packed
from xedge.remote.fleet import AT_ONCE
from xedge.remote.fleet_run import FleetRun, run_on_all
from xedge.remote.naming import addresses
from xedge.remote.run import RemoteRun, run_there
from xedge.remote.ssh import Ssh

Report = Callable[[str], None]
Pathlike = str | Path


def run(
    bundle: Pathlike,
    *,
    data: Pathlike | EllipsisType | None = ...,
    truth: Pathlike | None = None,
    limit: int | None = None,
    runs: int | None = None,
    duration_s: float | None = None,
    rate: float | None = None,
    cooldown: Cooldown | None = None,
    against: Pathlike | None = None,
    streams: int | None = None,
    cold_starts: int | None = None,
    profile: bool = False,
    threads: int | None = None,
    runtime: str | None = None,
    provider: str | None = None,
    progress: Report = lambda line: None,
) -> RunReport:
    """Test, time and score a bundle on this machine.

    Args:
        bundle: The bundle: its folder or its zip.
        data: Labelled photos to score: a folder with one folder for each class, a .tar, WebDataset or Parquet shards,
            as a path, a pattern or an address of fsspec. If it is left out, the embedded model is scored on its own
            photos; None scores nothing.
        truth: A file with the classes of the photos, where neither folders nor the files themselves have them.
        limit: The number of photos to score, chosen by a fixed seed; None scores all.
        runs: The exact number of inferences to time; None decides by time.
        duration_s: The time to measure for, in seconds; None stops when every percentile can be told.
        rate: The number of frames per second that arrive whether the last one is done or not; None takes the next
            frame when the last one is done.
        cooldown: What to wait for before the run; None does not wait.
        against: Another bundle of the same model, to time in turns with this one.
        streams: The number of photos at once, for MLPerf's multistream and offline scenarios; None leaves these out.
        cold_starts: The number of fresh processes whose start to the first answer is timed; None starts none.
        profile: Whether each operation is timed too, where the runtime tells such times.
        threads: The number of threads for one inference; None takes the number of cores, at most 4.
        runtime: The name of the runtime; None takes the first installed one that opens the artifact.
        provider: The processor or backend of the runtime; None takes its CPU.
        progress: A function that is told what is being done.

    Raises:
        XedgeError: The bundle cannot be opened, run or scored; the message says what, where, and what to do.
    """
    options = RunOptions(
        threads=threads,
        runtime=runtime,
        provider=provider,
        schedule=Schedule(runs=runs, duration_s=duration_s, rate=rate),
        cooldown=cooldown,
        streams=streams,
        cold_starts=cold_starts,
        profile=profile,
    )
    with ExitStack() as stack:
        one = stack.enter_context(opened(Path(bundle)))
        other = stack.enter_context(opened(Path(against))) if against is not None else None
        named = None if data is ... or data is None else Path(data)
        classes = Path(truth) if truth is not None else None
        photos = photos_for(one, named, limit, classes) if data is not None else None
        return run_bundle(one, photos, options, other=other, progress=progress)


def run_on(
    destination: str,
    *bundles: Pathlike,
    data: Pathlike | None = None,
    limit: int | None = None,
    wheels: Pathlike | None = None,
    arguments: Sequence[str] = (),
    report: Report = lambda line: None,
) -> RemoteRun:
    """Deploy bundles to another machine over the system's ssh, run each of them there, and bring the reports back.

    Args:
        destination: The machine: ``user@host``, or a name in the user's ssh configuration.
        bundles: The bundles: folders or zips.
        data: Labelled photos to send along and score. The embedded model's own photos come with xedge.
        limit: The number of photos to score, chosen by a fixed seed; None scores all.
        wheels: A folder of wheels, for a machine without internet; None lets the machine fetch what it needs.
        arguments: More options of ``xedge run`` on that machine, such as ``("--runs", "100")``.
        report: A function that is told one line as each stage ends.

    Returns:
        The reports of the bundles that ran; those that did not are among its ``failures``.

    Raises:
        ConnectionLostError: The machine cannot be reached, or the connection was lost.
        XedgeError: Every bundle failed on that machine.
    """
    with _packed(bundles, data, limit, wheels) as package:
        return run_there(Ssh(destination=destination), package, _limited(arguments, limit), report)


def run_fleet(
    *bundles: Pathlike,
    on: Sequence[str] = (),
    fleet: Pathlike | None = None,
    at_once: int | None = None,
    data: Pathlike | None = None,
    limit: int | None = None,
    wheels: Pathlike | None = None,
    arguments: Sequence[str] = (),
    report: Report = lambda line: None,
) -> FleetRun:
    """Deploy bundles to several machines at once, run each of them there, and bring the reports back.

    What fails on one machine harms no other.

    Args:
        bundles: The bundles: folders or zips, which are read and hashed once.
        on: Machines: ``user@host``, or names in the user's ssh configuration.
        fleet: More machines: an Ansible inventory in INI format, or a pattern of names in ssh's configuration.
        at_once: The greatest number of machines to work on at the same time; None takes 8.
        data: Labelled photos to send along and score. The embedded model's own photos come with xedge.
        limit: The number of photos to score, chosen by a fixed seed; None scores all.
        wheels: A folder of wheels, for machines without internet; None lets them fetch what they need.
        arguments: More options of ``xedge run`` on the machines, such as ``("--runs", "100")``.
        report: A function that is told one line for each stage, with the name of the machine.

    Returns:
        The reports of each machine, and how far boards of one kind differ; what failed is among its ``failures``.

    Raises:
        UsageError: No machine or no bundle is named, or a machine is named twice.
        InputError: The inventory cannot be read, no name matches the pattern, or a bundle or photos are missing.
    """
    machines = addresses(on, str(fleet) if fleet is not None else None)
    with _packed(bundles, data, limit, wheels) as package:
        return run_on_all(
            machines, package, _limited(arguments, limit), AT_ONCE if at_once is None else at_once, report
        )


def _limited(arguments: Sequence[str], limit: int | None) -> Sequence[str]:
    return arguments if limit is None else ("--limit", str(limit), *arguments)


@contextmanager
def _packed(
    bundles: Sequence[Pathlike], data: Pathlike | None, limit: int | None, wheels: Pathlike | None
) -> Iterator[Package]:
    """Yield the bundles, opened and checked, and what is sent with them."""
    if not bundles:
        raise UsageError("no bundle is named; give at least one")
    with opened_all([Path(bundle) for bundle in bundles]) as open_ones:
        # The embedded model's photos come with the wheel.
        photos = photos_for(open_ones[0], Path(data) if data is not None else None, limit)
        photos = photos if data is not None else None
        with packed(open_ones, photos, Path(wheels) if wheels is not None else None) as package:
            yield package
