"""``xedge deploy``, and ``xedge run --on``: bundles on another machine over ssh."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xedge.api.run import run_on
from xedge.bundle import open_bundle
from xedge.cli.console import Console, percent, table
from xedge.cli.run import text
from xedge.errors import UsageError
from xedge.remote.deploy import deploy
from xedge.remote.run import RemoteRun
from xedge.remote.ssh import Ssh


def main(options: argparse.Namespace) -> int:
    """Make another machine ready, and say what its doctor says."""
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")) for _ in options.bundles]
        bundles = [open_bundle(path, Path(folder)) for path, folder in zip(options.bundles, folders, strict=True)]
        ready = deploy(Ssh(destination=options.destination), bundles, None, options.wheels, console.stage)
        doctor = ready.xedge("doctor")
    document = {"destination": options.destination, "bundles": list(ready.bundles), "doctor": doctor}
    console.result(
        document, f"{options.destination} ({ready.machine}, Python {ready.python}) is ready\n{_doctor(doctor)}"
    )
    return 0


def run_there(options: argparse.Namespace) -> int:
    """Deploy, run every bundle there, and print the reports beside the host's figures."""
    if options.against is not None:
        raise UsageError("--against compares on this machine; with --on name both bundles")
    console = Console(options.json, options.quiet)
    report = run_on(
        options.on,
        *options.bundles,
        data=options.data,
        limit=options.limit,
        wheels=options.wheels,
        arguments=_arguments(options),
        report=console.stage,
    )
    lines = [f"FAILED     {name}: {failure.message}" for name, failure in report.failures.items()]
    console.result(report, "\n\n".join([_doctor(report.doctor), *map(text, report.runs), _beside(report), *lines]))
    return max((failure.exit_code for failure in report.failures.values()), default=0)


def _arguments(options: argparse.Namespace) -> list[str]:
    """What of the command line goes on to the other machine's."""
    arguments = []
    named = {"--runs": options.runs, "--threads": options.threads, "--rate": options.rate}
    named |= {"--runtime": options.runtime, "--provider": options.provider}
    if options.duration is not None:
        named["--duration"] = f"{options.duration}s"
    if options.cooldown is not None:
        kind, value = options.cooldown
        named["--cooldown"] = f"{value}{'C' if kind == 'temperature_c' else 's'}"
    for name, value in named.items():
        arguments += [name, str(value)] if value is not None else []
    return [*arguments, "--no-accuracy"] if options.no_accuracy else arguments


def _doctor(doctor: Any) -> str:
    found = [one for one in doctor["findings"] if one["status"] in ("problem", "warning")]
    lines = [f"  {one['status']}: {one['name']}: {one['found']}" for one in found]
    return "\n".join(["doctor: nothing to mend" if not lines else "doctor:", *lines])


def _beside(report: RemoteRun) -> str:
    """The other machine's figures beside the host's."""
    rows = []
    for run, host in zip(report.runs, report.host, strict=True):
        rows.append(
            [
                run.bundle,
                f"{run.latency.p50_ms:.2f}",
                "-" if host.ms is None else f"{host.ms:.2f}",
                "-" if run.accuracy is None else percent(run.accuracy.top1),
                "-" if host.top1 is None else percent(host.top1),
                f"{run.self_test.max_difference:.2g}",
                run.verdict.word,
            ]
        )
    header = ["bundle", "p50 ms", "host ms", "top-1", "host top-1", "golden difference", "verdict"]
    return table(rows, header)
