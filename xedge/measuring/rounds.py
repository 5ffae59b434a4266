"""Time bundles in turns, each turn in a process of its own.

Neither a drift of the machine nor a lucky process then falls on one of them alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
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

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How bundles are measured.

    Args:
        rounds: how often each has its turn.
        runs: inferences timed in a turn.
        data, limit: labelled photos, scored in the first turn; None takes the embedded model's own.
        threads, runtime, provider: as for ``run``.
    """

    rounds: int = 5
    runs: int = 30
    data: Path | None = None
    limit: int | None = None
    threads: int | None = None
    runtime: str | None = None
    provider: str | None = None

    def arguments(self, first: bool) -> list[str]:
        """Return the options of one turn's ``xedge run``."""
        given: dict[str, object] = {
            "--runs": self.runs,
            "--threads": self.threads,
            "--runtime": self.runtime,
            "--provider": self.provider,
        }
        if first:
            given.update({"--data": self.data, "--limit": self.limit})
        named = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return named if first else [*named, "--no-accuracy"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A bundle after all its turns.

    Args:
        run: the first turn's report with the samples, readings and verdict of all turns.
        rounds_ms: the median of each turn; the same place in another bundle's is the same time of day.
    """

    run: RunReport
    rounds_ms: tuple[float, ...]


def measure_in_rounds(
    bundles: Sequence[Path], plan: Plan, progress: Report = lambda line: None
) -> list[Measured | XedgeError]:
    """Return what each bundle measured, or why it did not run.

    Args:
        bundles: folders or zips.
        plan: how they are measured.
        progress: told whose turn it is.
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
    command = [sys.executable, "-m", "xedge", "run", str(bundle), *arguments, "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return from_json(RunReport, json.loads(done.stdout))
    lines = done.stderr.strip().splitlines()
    words = lines[-1].removeprefix("xedge: error: ") if lines else f"{bundle}: ended with {done.returncode}"
    if done.returncode < 0:
        words = f"{bundle}: its process was killed (signal {-done.returncode}); most likely the memory did not suffice"
    error = XedgeError(words)
    error.exit_code = done.returncode if done.returncode in EXIT_CODES else ResourceError.exit_code
    raise error


def _together(runs: Sequence[RunReport]) -> Measured:
    """The turns as one run."""
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
        verdict=judge(latency, runs[0].board, readings, contention),
    )
    return Measured(run=pooled, rounds_ms=tuple(run.latency.p50_ms for run in runs))
