"""Test, time and score a bundle: on this machine, or on another over ssh."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import EllipsisType

from xedge.bundle.opening import opened, photos_for
from xedge.bundle.reading import open_bundle
from xedge.device.cooldown import Cooldown
from xedge.measuring.latency import Schedule
from xedge.measuring.report import RunReport
from xedge.measuring.run import RunOptions, run_bundle
from xedge.remote.run import RemoteRun, run_there
from xedge.remote.ssh import Ssh

Report = Callable[[str], None]
Pathlike = str | Path


def run(
    bundle: Pathlike,
    *,
    data: Pathlike | EllipsisType | None = ...,
    limit: int | None = None,
    runs: int | None = None,
    duration_s: float | None = None,
    rate: float | None = None,
    cooldown: Cooldown | None = None,
    against: Pathlike | None = None,
    threads: int | None = None,
    runtime: str | None = None,
    provider: str | None = None,
    progress: Report = lambda line: None,
) -> RunReport:
    """Test, time and score a bundle on this machine.

    Args:
        bundle: a folder or zip.
        data: labelled photos, one folder for each class; left out, the embedded model takes its own; None scores
            nothing.
        limit: score on so many of them, chosen by a fixed seed.
        runs: time exactly so many inferences; None lets the time decide.
        duration_s: time for so long.
        rate: frames per second that come whether the last is done or not.
        cooldown: what to wait for before.
        against: another bundle of the same model, timed in turns with this one.
        threads, runtime, provider: as for ``load``.
        progress: told what is being done.

    Raises:
        XedgeError: with a line for the user.
    """
    options = RunOptions(
        threads=threads,
        runtime=runtime,
        provider=provider,
        schedule=Schedule(runs=runs, duration_s=duration_s, rate=rate),
        cooldown=cooldown,
    )
    with ExitStack() as stack:
        one = stack.enter_context(opened(Path(bundle)))
        other = stack.enter_context(opened(Path(against))) if against is not None else None
        named = None if data is ... or data is None else Path(data)
        photos = photos_for(one, named, limit) if data is not None else None
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
    """Deploy bundles to another machine over the system's ssh, run each there, and bring the reports back.

    Args:
        destination: ``user@host``, or a name of the user's ssh configuration.
        bundles: folders or zips.
        data: labelled photos to send along; the embedded model's own are there already.
        limit: score on so many of them.
        wheels: a folder of wheels, for a machine without internet.
        arguments: more options of ``xedge run`` there, such as ``("--runs", "100")``.
        report: told one line as each stage ends.

    Raises:
        ConnectionLostError: the machine cannot be reached, or not any more.
        XedgeError: every bundle failed there; where only some did, they are among ``failures``.
    """
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")) for _ in bundles]
        open_ones = [open_bundle(Path(path), Path(folder)) for path, folder in zip(bundles, folders, strict=True)]
        # The embedded model's photos come with the wheel.
        photos = photos_for(open_ones[0], Path(data), limit) if data is not None else None
        if limit is not None:
            arguments = ("--limit", str(limit), *arguments)
        ssh = Ssh(destination=destination)
        return run_there(ssh, open_ones, photos, Path(wheels) if wheels is not None else None, arguments, report)
