"""Run bundles on another machine and bring the reports back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from xedge.bundle.reading import Bundle
from xedge.doctor.examination import Examination
from xedge.errors import ConnectionLostError, XedgeError
from xedge.measuring.report import RunReport
from xedge.remote.deploy import Package, deploy
from xedge.remote.failure import Failure
from xedge.remote.ssh import Ssh

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class HostFigures:
    """What was measured on the host when a bundle was made.

    Args:
        ms: The median latency in milliseconds; None if it was not measured.
        top1: The top-1 accuracy, 0 to 1; None if it was not measured.
    """

    ms: float | None
    top1: float | None


@dataclass(frozen=True, kw_only=True)
class RemoteRun:
    """The results of bundles on another machine.

    Args:
        schema: The kind of this document and its version.
        destination: The machine on which the bundles ran, as ssh names it.
        doctor: The document that ``xedge doctor --json`` printed there.
        runs: The report of each bundle that ran, in the order in which the bundles were given.
        host: What was measured on the host for each of these bundles.
        failures: The errors of the other bundles, by the names of the bundles.
    """

    schema: Literal["xedge.run-on/2"] = "xedge.run-on/2"
    destination: str
    doctor: dict[str, Any]
    runs: tuple[RunReport, ...]
    host: tuple[HostFigures, ...]
    failures: dict[str, Failure]


def run_there(ssh: Ssh, package: Package, arguments: Sequence[str], report: Report = lambda line: None) -> RemoteRun:
    """Deploy bundles to another machine, examine it with the doctor, and run every bundle there.

    Args:
        ssh: The connection to the machine.
        package: The bundles, and what is sent with them.
        arguments: More options of ``xedge run`` there.
        report: A function that is called with one line of text for each stage.

    Raises:
        ConnectionLostError: The machine cannot be reached, or the connection was lost before any bundle had run.
        XedgeError: Every bundle failed; this is the error of the first one.
    """
    ready = deploy(ssh, package, report)
    _, doctor = ready.xedge(Examination, "doctor")
    data = ("--data", f"@{ready.photos}") if ready.photos is not None else ()
    done: list[tuple[Bundle, RunReport]] = []
    failed: dict[str, XedgeError] = {}
    lost: ConnectionLostError | None = None
    for bundle, folder in zip(package.bundles, ready.bundles, strict=True):
        # The reports of the other bundles are kept, whatever becomes of this one.
        if lost is not None:
            failed[bundle.root.name] = lost
            continue
        report(f"run        {bundle.root.name}")
        try:
            run, _ = ready.xedge(RunReport, "run", f"@{folder}", *arguments, *data)
            # The folders there have a digest appended to their names.
            done.append((bundle, replace(run, bundle=bundle.root.name)))
        except ConnectionLostError as error:
            failed[bundle.root.name] = lost = error
        except XedgeError as error:
            failed[bundle.root.name] = error
    if not done:
        raise next(iter(failed.values()))
    return RemoteRun(
        destination=ssh.destination,
        doctor=doctor,
        runs=tuple(run for _, run in done),
        host=tuple(_host(bundle) for bundle, _ in done),
        failures={name: Failure(message=str(error), exit_code=error.exit_code) for name, error in failed.items()},
    )


def _host(bundle: Bundle) -> HostFigures:
    accuracy, speed = bundle.manifest.accuracy, bundle.manifest.speed
    return HostFigures(
        ms=None if speed is None else speed.ms, top1=None if accuracy is None else accuracy.artifact.top1
    )
