"""``xedge run``."""

from __future__ import annotations

import argparse

from xedge.api.run import run, run_fleet, run_on
from xedge.cli.console import Console, percent, table
from xedge.cli.doctor import findings_text
from xedge.cli.fleet_text import text as fleet_text
from xedge.cli.options import passed_on, refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.cli.run_text import text
from xedge.device.cooldown import Cooldown
from xedge.errors import UsageError, parameter
from xedge.measuring.latency import Schedule
from xedge.remote.run import RemoteRun


def main(options: argparse.Namespace) -> int:
    """Test, time and score a bundle, here or on another machine, and print the report."""
    own = commands_of(parser())["run"]
    Schedule(runs=options.runs, duration_s=options.duration_s)  # refuses what contradicts itself, for others too
    if options.no_accuracy:
        refuse_idle(options, own, ("data", "truth", "limit"), "with --no-accuracy")
    if options.fleet is not None or len(options.on) > 1:
        return _run_fleet(options)
    if options.at_once is not None:
        raise UsageError(f"{parameter('at_once')} is for several machines; give {parameter('fleet')}, or more of --on")
    if options.on:
        return _run_there(options)
    refuse_idle(options, own, ("wheels",), "on this machine: it is for others, with --on or --fleet")
    if len(options.bundles) > 1:
        raise UsageError("one bundle runs at a time here; xedge compare times several in turns, and --on takes several")
    console = Console(options.json, options.quiet)
    report = run(
        options.bundles[0],
        data=None if options.no_accuracy else options.data or ...,
        truth=options.truth,
        limit=options.limit,
        runs=options.runs,
        duration_s=options.duration_s,
        rate=options.rate,
        cooldown=Cooldown(**dict([options.cooldown])) if options.cooldown else None,
        against=options.against,
        streams=options.streams,
        cold_starts=options.cold_starts,
        profile=options.profile,
        threads=options.threads,
        runtime=options.runtime,
        provider=options.provider,
        progress=console.progress,
    )
    console.result(report, text(report))
    return 0


def _run_there(options: argparse.Namespace) -> int:
    """Deploy, run every bundle there, and print the reports beside the host's figures."""
    _check_options(options)
    console = Console(options.json, options.quiet)
    report = run_on(
        options.on[0],
        *options.bundles,
        data=options.data,
        limit=options.limit,
        wheels=options.wheels,
        arguments=_arguments(options),
        report=console.stage,
    )
    lines = [f"FAILED     {name}: {failure.message}" for name, failure in report.failures.items()]
    console.result(
        report, "\n\n".join([findings_text(report.doctor), *map(text, report.runs), _beside(report), *lines])
    )
    return max((failure.exit_code for failure in report.failures.values()), default=0)


def _run_fleet(options: argparse.Namespace) -> int:
    """Deploy to several machines, run every bundle there, and print a table by machine."""
    _check_options(options)
    console = Console(options.json, options.quiet)
    report = run_fleet(
        *options.bundles,
        on=options.on,
        fleet=options.fleet,
        at_once=options.at_once,
        data=options.data,
        limit=options.limit,
        wheels=options.wheels,
        arguments=_arguments(options),
        report=console.stage,
    )
    console.result(report, fleet_text(report))
    return report.exit_code


def _check_options(options: argparse.Namespace) -> None:
    if options.truth is not None:
        raise UsageError(f"{parameter('truth')} is for photos on this machine; another one is sent class folders")
    if options.against is not None:
        raise UsageError(f"{parameter('against')} compares on this machine; with {parameter('on')} name both bundles")


def _arguments(options: argparse.Namespace) -> list[str]:
    """What of the command line goes on to the other machine's."""
    named = {"--runs": options.runs, "--threads": options.threads, "--rate": options.rate}
    named |= {"--runtime": options.runtime, "--provider": options.provider}
    named |= {"--streams": options.streams, "--cold-starts": options.cold_starts}
    if options.duration_s is not None:
        named["--duration"] = f"{options.duration_s}s"
    if options.cooldown is not None:
        kind, value = options.cooldown
        named["--cooldown"] = f"{value}{'C' if kind == 'temperature_c' else 's'}"
    arguments = [*passed_on(named), *(["--profile"] if options.profile else [])]
    return [*arguments, "--no-accuracy"] if options.no_accuracy else arguments


def _beside(report: RemoteRun) -> str:
    """The other machine's figures beside the host's."""
    rows = []
    for there, host in zip(report.runs, report.host, strict=True):
        rows.append(
            [
                there.bundle,
                f"{there.latency.p50_ms:.2f}",
                "-" if host.ms is None else f"{host.ms:.2f}",
                "-" if there.accuracy is None else percent(there.accuracy.top1),
                "-" if host.top1 is None or not there.same_photos_as_host else percent(host.top1),
                f"{there.self_test.max_difference:.2g}",
                there.verdict.word,
            ]
        )
    header = ["bundle", "p50 ms", "host ms", "top-1", "host top-1", "golden difference", "verdict"]
    return table(rows, header)
