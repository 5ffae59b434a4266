"""Time bundles in turns, each turn in a process of its own.

In this way, neither a drift of the machine nor a process that happens to be fast favours one of the bundles.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xedge.codec import from_json
from xedge.device.contention import average
from xedge.errors import EXIT_CODES, ResourceError, XedgeError
from xedge.measuring.latency import summarize
from xedge.measuring.report import RunReport
from xedge.measuring.verdict import judge
from xedge.processes import python_module, reason, run_python

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How bundles are measured in turns.

    Args:
        rounds: The number of turns of each bundle.
        runs: The number of inferences that are timed in a turn.
        data: A folder of labelled photos, which are scored in the first turn; None takes the test photos of the
            embedded model if the bundle was made from it.
        truth: A file with the classes of the photos; None if the photos have their own.
        limit: The greatest number of these photos that are scored; None scores all of them.
        threads: The number of threads for one inference; None takes the default of ``run``.
        runtime: The name of the runtime; None takes the default of ``run``.
        provider: The processor or backend of the runtime; None takes its CPU.
    """

    rounds: int = 5
    runs: int = 30
    data: Path | None = None
    truth: Path | None = None
    limit: int | None = None
    threads: int | None = None
    runtime: str | None = None
    provider: str | None = None

    def arguments(self, first: bool) -> list[str]:
        """Return the options of ``xedge run`` for one turn.

        Args:
            first: Whether it is the first turn, in which the photos are scored.
        """
        given: dict[str, object] = {
            "--runs": self.runs,
            "--threads": self.threads,
            "--runtime": self.runtime,
            "--provider": self.provider,
        }
        if first:
            given.update({"--data": self.data, "--truth": self.truth, "--limit": self.limit})
        named = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return named if first else [*named, "--no-accuracy"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurement of a bundle over all its turns.

    Args:
        run: The report of the first turn, with the samples, the readings and the verdict of all turns.
        rounds_ms: The median latency of each turn in milliseconds. Equal positions in the measurements of two bundles
            are from the same time of day.
    """

    run: RunReport
    rounds_ms: tuple[float, ...]


def measure_in_rounds(
    bundles: Sequence[Path], plan: Plan, progress: Report = lambda line: None
) -> list[Measured | XedgeError]:
    """Return the measurement of each bundle, or the error if it did not run.

    Args:
        bundles: The folders or zips of the bundles.
        plan: How the bundles are measured.
        progress: A function that is called with one line of text at the start of each turn.
    """
    begin = time.monotonic()
    turns: list[list[RunReport]] = [[] for _ in bundles]
    errors: dict[int, XedgeError] = {}
    for turn in range(plan.rounds):
        for index, bundle in enumerate(bundles):
            if index in errors:
                continue
            progress(f"round {turn + 1}/{plan.rounds}: {bundle}")
            started = time.monotonic() - begin
            try:
                run = _run(bundle, plan.arguments(first=turn == 0))
            except XedgeError as error:
                errors[index] = error
                continue
            later = tuple(replace(reading, at_s=reading.at_s + started) for reading in run.readings)
            turns[index].append(replace(run, readings=later))
    return [errors.get(index) or _together(runs) for index, runs in enumerate(turns)]


def _run(bundle: Path, arguments: Sequence[str]) -> RunReport:
    done = run_python(python_module("xedge", "run", str(bundle), *arguments, "--json", "--quiet"))
    if done.returncode == 0:
        return from_json(RunReport, json.loads(done.stdout))
    words = reason(done).removeprefix("xedge: error: ")
    if done.returncode < 0 or not done.stderr.strip():
        words = f"{bundle}: `xedge run` {words}"
    error = XedgeError(words)
    error.exit_code = done.returncode if done.returncode in EXIT_CODES else ResourceError.exit_code
    raise error


def _together(runs: Sequence[RunReport]) -> Measured:
    """Pool the samples, readings and contention of all turns in one report."""
    samples = tuple(sample for run in runs for sample in run.samples_ns)
    readings = tuple(reading for run in runs for reading in run.readings)
    latency, contention = summarize(samples), average([run.contention for run in runs])
    pooled = replace(
        runs[0],
        samples_ns=samples,
        latency=latency,
        readings=readings,
        contention=contention,
        series=(),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
        warmup_inferences=sum(run.warmup_inferences for run in runs),
        verdict=judge(latency, runs[0].board, readings, contention, runs[0].execution.threads),
    )
    return Measured(run=pooled, rounds_ms=tuple(run.latency.p50_ms for run in runs))
