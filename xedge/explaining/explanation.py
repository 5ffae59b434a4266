"""Explain the latency of a bundle: run it, name the causes of what is slow, and try those cures that can be tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from xedge.bundle.reading import Bundle
from xedge.device.processor import has_dot_product, has_half_arithmetic
from xedge.device.system import System
from xedge.errors import UnsupportedError, XedgeError
from xedge.explaining.causes import OF_MACHINE, Cause, causes_in
from xedge.explaining.evidence import Evidence
from xedge.measuring.latency import in_turns
from xedge.measuring.paying import unpaid
from xedge.measuring.profile import OperationTime, profile_of
from xedge.measuring.report import RunReport
from xedge.measuring.run import run_bundle
from xedge.measuring.starting import MOST_DEFAULT_THREADS, RunOptions
from xedge.runtimes import Execution, fitting_runtimes
from xedge.runtimes.audit import Audit, audit
from xedge.runtimes.classifier import Classifier, open_bundle_classifier
from xedge.types import UInt8Array


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an inference takes as long as it does.

    Args:
        schema: The kind of this document and its version.
        bundle: The name of the bundle's folder.
        artifact: The target and the precision.
        p50_ms: The median latency in milliseconds.
        execution: What the runtime does with the artifact.
        audit: What it executes, counted.
        timed_ms: The sum of the operations' times in milliseconds; None if the runtime does not tell them.
        integer_share: The share of the operations' time that computes in integers, 0 to 1; None if it is not known.
        float_share: The share that computes in float.
        conversion_share: The share that only converts between them.
        causes: What is slow and can be mended, those first that take the most time; empty if there is nothing to mend.
        against: The name of the bundle that it was timed in turns with; None without one.
        ratio: The median over the turns of this bundle's latency divided by that one's; None without one.
    """

    schema: Literal["xedge.explain/1"] = "xedge.explain/1"
    bundle: str
    artifact: str
    p50_ms: float
    execution: Execution
    audit: Audit
    timed_ms: float | None
    integer_share: float | None
    float_share: float | None
    conversion_share: float | None
    causes: tuple[Cause, ...]
    against: str | None = None
    ratio: float | None = None

    @property
    def healthy(self) -> bool:
        """Whether there is nothing to mend but the machine that it runs on."""
        return all(cause.kind in OF_MACHINE for cause in self.causes)


def explain_bundle(
    bundle: Bundle,
    options: RunOptions,
    *,
    other: Bundle | None = None,
    progress: Callable[[str], None] = lambda line: None,
    system: System | None = None,
) -> Explanation:
    """Run a bundle and explain its latency.

    Args:
        bundle: The bundle, opened and checked.
        options: The threads, runtime, provider and schedule.
        other: Another bundle of the same model to time in turns with this one; None compares with none.
        progress: A function that is called with one line of text at the start of each stage.
        system: The system from which the machine is read; None takes this machine.
    """
    system = system or System()
    run = run_bundle(bundle, None, options, other=other, progress=progress, system=system)
    classifier, _ = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)
    pixels = bundle.golden().pixels[0]
    progress("the times of operations")
    evidence = _evidence(bundle, classifier, pixels, run, system)
    causes = causes_in(evidence)
    progress("cures that can be tried here")
    causes = [_tried(cause, bundle, classifier, pixels, options) for cause in causes]
    quicker = _quicker_runtime(bundle, classifier, pixels, options)
    return Explanation(
        bundle=bundle.root.name,
        artifact=bundle.manifest.artifact_name,
        p50_ms=run.latency.p50_ms,
        execution=evidence.execution,
        audit=evidence.audit,
        timed_ms=evidence.timed_ms if evidence.operations else None,
        integer_share=_share(evidence, "integer"),
        float_share=_share(evidence, "float"),
        conversion_share=_share(evidence, "conversion"),
        causes=tuple(causes if quicker is None else [quicker, *causes]),
        against=run.against.other if run.against is not None else None,
        ratio=run.against.speed.ratio[0] if run.against is not None else None,
    )


def _evidence(bundle: Bundle, classifier: Classifier, pixels: UInt8Array, run: RunReport, system: System) -> Evidence:
    operations: tuple[OperationTime, ...] = ()
    with suppress(UnsupportedError):  # Some runtimes do not time operations; the audit tells enough for most causes.
        operations = profile_of(classifier.session, classifier.input(pixels)).operations
    return Evidence(
        manifest=bundle.manifest,
        execution=run.execution,
        audit=audit(classifier.session),
        operations=operations,
        p50_ms=run.latency.p50_ms,
        preprocess_ms=run.phases.preprocess_ms,
        board=run.board,
        dot_product=has_dot_product(system),
        half_arithmetic=has_half_arithmetic(system),
        unpaid=unpaid(bundle.manifest, run.execution.provider, system),
        circumstances=run.verdict.reasons,
    )


def _share(evidence: Evidence, role: str) -> float | None:
    if not evidence.operations:
        return None
    return sum(one.share for one in evidence.operations if one.role == role)


def _tried(cause: Cause, bundle: Bundle, classifier: Classifier, pixels: UInt8Array, options: RunOptions) -> Cause:
    """Return a cause with what its cure brings here, where that is another number of threads."""
    if cause.kind not in ("idle cores", "too many threads", "overhead"):
        return cause
    cores = replace(options, threads=None).thread_count()
    wanted = 1 if cause.kind == "overhead" else min(cores, MOST_DEFAULT_THREADS)
    if wanted == options.thread_count():
        return cause
    gained = _gain(bundle, classifier, pixels, replace(options, threads=wanted))
    return cause if gained is None else replace(cause, worth_ms=gained, tried=f"--threads {wanted}")


def _quicker_runtime(bundle: Bundle, classifier: Classifier, pixels: UInt8Array, options: RunOptions) -> Cause | None:
    """Return the cause that another installed runtime is faster; None if none is."""
    used = classifier.session.execution().runtime
    for runtime in fitting_runtimes(bundle.artifact.suffix):
        if runtime.package == used:
            continue
        gained = _gain(bundle, classifier, pixels, replace(options, runtime=runtime.name))
        if gained is not None and gained > 0:
            return Cause(
                kind="other runtime",
                words=f"{runtime.package} runs this artifact faster than {used}",
                reason="its kernels are others",
                cure=f"run it with --runtime {runtime.name}",
                worth_ms=gained,
                tried=f"--runtime {runtime.name}",
            )
    return None


def _gain(bundle: Bundle, classifier: Classifier, pixels: UInt8Array, options: RunOptions) -> float | None:
    """Return how many milliseconds an inference takes less with other options, measured in turns; None if it fails.

    A change that the turns do not agree on is no gain.
    """
    try:
        other, _ = open_bundle_classifier(bundle, options.settings(bundle), options.runtime)
    except XedgeError:
        return None
    mine, its = classifier.input(pixels), other.input(pixels)
    pair = in_turns(lambda: classifier.session.run(mine), lambda: other.session.run(its), time.perf_counter_ns)
    _, low, _ = pair.ratio
    return pair.first_ms - pair.second_ms if low > 1 else 0.0
