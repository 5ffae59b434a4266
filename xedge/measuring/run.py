"""Run a bundle on this machine: self-test, latency, accuracy, and a verdict on whether the latency can be believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from xedge._version import __version__
from xedge.bundle.reading import Bundle
from xedge.device.board import read_board
from xedge.device.contention import Contention, contention_between, read_ticks
from xedge.device.cooldown import cool_down
from xedge.device.process import peak_memory_bytes
from xedge.device.readings import Reading, watching
from xedge.device.system import System
from xedge.errors import CheckError, InputError, XedgeError, parameter
from xedge.measuring.against import check_same_model, hold_against
from xedge.measuring.cold import cold_starts
from xedge.measuring.energy import energy_of, idle_watts
from xedge.measuring.latency import Clock, Latency, Measured, Schedule, measure, summarize
from xedge.measuring.paying import unpaid
from xedge.measuring.profile import Profile, profile_of
from xedge.measuring.report import Frames, Phases, RunReport, SelfTest
from xedge.measuring.series import throttled_at_s, time_series
from xedge.measuring.starting import RunOptions, Started, start
from xedge.measuring.streams import Streams, check_streams, measure_streams
from xedge.measuring.verdict import judge
from xedge.metrics import Accuracy, Answers, Confusion, accuracy, confusion
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of
from xedge.runtimes.classifier import Classifier, try_bundle
from xedge.types import FloatArray, IntArray, UInt8Array

Progress = Callable[[str], None]


def run_bundle(
    bundle: Bundle,
    photos: PhotoSet | None,
    options: RunOptions,
    *,
    other: Bundle | None = None,
    progress: Progress = lambda line: None,
    clock: Clock = time.perf_counter_ns,
    system: System | None = None,
) -> RunReport:
    """Test, time and score a bundle.

    Args:
        bundle: The bundle, opened and checked.
        photos: The photos to score, which need labels for the accuracy; None leaves the accuracy out.
        options: The threads, runtime, provider, schedule and cooldown of the run.
        other: Another bundle of the same model to compare with this one; None compares with none.
        progress: A function that is called with one line of text at the start of each stage.
        clock: A function that returns the time in nanoseconds.
        system: The system from which the board is read; None takes this machine.

    Raises:
        CheckError: The outputs for the golden photos differ from those on the host.
        InputError: The classes of the photos do not match those of the bundle, or the other bundle is of another model.
    """
    elsewhere_s = _checked(bundle, photos, options, other)
    system = system or System()
    board = read_board(system)
    cooled_s = cool_down(options.cooldown, system) if options.cooldown is not None else None
    idle = idle_watts(system)
    pixels = bundle.golden().pixels
    started = start(bundle, pixels[0], options, clock, elsewhere_s=elsewhere_s)
    classifier = started.classifier
    progress("self-test with the golden photos")
    self_test = check_golden(bundle, [started.first, *(classifier.classify(one) for one in pixels[1:])])
    progress("latency")
    timing = _timed(classifier, pixels[0], options.schedule, clock, system)
    energy = energy_of(idle, timing.readings, timing.latency.mean_ms)
    scores = None
    if photos is not None and photos.labelled:
        progress(f"accuracy on {len(photos.files)} photos")
        scores = _scored(bundle, classifier, photos, clock)
        photos = scores.photos
    elif photos is not None and other is not None:
        _, photos, _ = _classify_files(classifier, photos, clock)  # leaves out what cannot be read
    against = None
    if other is not None:
        progress(f"in turns with {other.root.name}")
        against = hold_against(bundle, classifier, other, photos, options.settings(other), clock)
    execution = classifier.session.execution()
    against_precision = unpaid(bundle.manifest, execution.provider, system)
    return RunReport(
        **_identity(bundle),
        **_extras(bundle, classifier, pixels[0], options, progress, clock),
        execution=execution,
        notes=(str(against_precision),) if against_precision is not None else (),
        board=board,
        readings=timing.readings,
        contention=timing.contention,
        energy_j=energy.joules if energy is not None else None,
        energy=energy,
        self_test=self_test,
        phases=_phases(started, scores.decode_ms if scores is not None else None, pixels[0], clock),
        latency=timing.latency,
        warmup_inferences=timing.measured.warmups,
        samples_ns=timing.measured.samples_ns,
        frames=_frames(options.schedule, timing.measured),
        series=time_series(timing.measured, timing.readings),
        throttled_at_s=throttled_at_s(timing.readings),
        cooldown_s=cooled_s,
        peak_memory_bytes=timing.peak_memory_bytes,
        data=str(photos.root) if photos is not None else None,
        left_out=photos.left_out if photos is not None else (),
        accuracy=scores.accuracy if scores is not None else None,
        confusion=scores.confusion if scores is not None else None,
        answers=scores.answers if scores is not None else None,
        against=against,
        verdict=judge(timing.latency, board, timing.readings, timing.contention, options.thread_count()),
    )


def _checked(bundle: Bundle, photos: PhotoSet | None, options: RunOptions, other: Bundle | None) -> float:
    """Refuse what does not fit the bundle before anything is measured; return the seconds that trying the other took.

    Arguments and errors are those of ``run_bundle``.
    """
    if other is not None:
        check_same_model(bundle, other)
    if options.streams is not None:
        check_streams(bundle, options.streams)
    if photos is not None and photos.labelled:
        bundle_truth(bundle, photos)  # refuses other classes
    return try_bundle(other, options.settings(other)) if other is not None else 0.0


def _extras(
    bundle: Bundle,
    classifier: Classifier,
    pixels: UInt8Array,
    options: RunOptions,
    progress: Progress,
    clock: Clock,
) -> dict[str, Any]:
    """Return the fields of a report that are measured only if they are asked for.

    What fails is told in one of them, for by now there are other figures, which would be lost.
    """

    def streams() -> Streams:
        assert options.streams is not None
        settings = options.settings(bundle)
        return measure_streams(bundle, pixels, options.streams, settings, options.runtime, options.schedule, clock)

    def profile() -> Profile:
        return profile_of(classifier.session, classifier.input(pixels))

    asked: list[tuple[str, str, Callable[[], object]]] = []
    if options.streams is not None:
        asked.append(("streams", f"{options.streams} photos at once", streams))
    if options.cold_starts is not None:
        count = options.cold_starts
        asked.append(("cold_starts", f"{count} cold starts", lambda: cold_starts(bundle, options, count, progress)))
    if options.profile:
        asked.append(("profile", "the times of operations", profile))
    found: dict[str, Any] = {}
    failed = []
    for name, words, measured in asked:
        progress(words)
        try:
            found[name] = measured()
        except XedgeError as error:
            failed.append(f"{words}: {error}")
    return {**found, "not_measured": tuple(failed)}


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """What the artifact answered to labelled photos, and the photos that could be read."""

    photos: PhotoSet
    accuracy: Accuracy
    confusion: Confusion
    answers: Answers
    decode_ms: float


def _scored(bundle: Bundle, classifier: Classifier, photos: PhotoSet, clock: Clock) -> _Scores:
    """Classify labelled photos."""
    labels = bundle.labels if bundle.manifest.labels_known or photos.numbered else photos.classes
    probabilities, readable, decode_ms = _classify_files(classifier, photos, clock)
    truth = bundle_truth(bundle, readable)
    return _Scores(
        photos=readable,
        accuracy=accuracy(probabilities, truth),
        confusion=confusion(probabilities.argmax(1), truth, labels),
        answers=_answers(probabilities, truth, labels, readable),
        decode_ms=decode_ms,
    )


def _identity(bundle: Bundle) -> dict[str, Any]:
    """Return the fields of a report that say what ran and what was known about it on the host."""
    manifest = bundle.manifest
    return {
        "xedge_version": __version__,
        "bundle": bundle.root.name,
        "target": manifest.target,
        "precision": manifest.precision,
        "ranges": manifest.recipe.ranges,
        "artifact_bytes": bundle.artifact_bytes,
        "weights_sha256": manifest.model.weights_sha256,
        "host_top1": manifest.accuracy.artifact.top1 if manifest.accuracy else None,
        "host_photos_sha256": manifest.accuracy.sha256 if manifest.accuracy else None,
        "budget": manifest.gate.verdict if manifest.gate is not None else None,
    }


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """The samples of the steady state, and what was read from the board during the timing."""

    measured: Measured
    latency: Latency
    readings: tuple[Reading, ...]
    contention: Contention | None
    peak_memory_bytes: int


def _timed(classifier: Classifier, pixels: UInt8Array, schedule: Schedule, clock: Clock, system: System) -> _Timing:
    """Time the inference of one photo repeatedly, and read the board meanwhile."""
    tensor, before = classifier.input(pixels), read_ticks(system)
    with watching(system) as readings:
        measured = measure(lambda: classifier.session.run(tensor), schedule, clock)
    return _Timing(
        measured=measured,
        latency=summarize(measured.samples_ns),
        readings=tuple(readings),
        contention=contention_between(before, read_ticks(system)),
        # The peak is read before a folder is scored, because scoring keeps the probabilities of all photos in memory,
        # which an application that serves photos would not do.
        peak_memory_bytes=peak_memory_bytes(),
    )


def _frames(schedule: Schedule, measured: Measured) -> Frames | None:
    if schedule.rate is None or measured.dropped is None or measured.late is None:
        return None
    return Frames(rate=schedule.rate, done=measured.inferences, dropped=measured.dropped, late=measured.late)


def _phases(started: Started, decode_ms: float | None, pixels: UInt8Array, clock: Clock) -> Phases:
    preprocess_ms, postprocess_ms = _sides(started.classifier, pixels, clock)
    return Phases(
        import_ms=started.import_ms,
        load_ms=started.load_ms,
        first_ms=started.first_ms,
        decode_ms=decode_ms,
        preprocess_ms=preprocess_ms,
        postprocess_ms=postprocess_ms,
        start_to_first_result_ms=started.start_to_first_result_ms,
    )


def check_golden(bundle: Bundle, probabilities: list[FloatArray]) -> SelfTest:
    """Compare the probabilities for the golden photos with those on the host.

    Args:
        bundle: The bundle with the expected probabilities.
        probabilities: The probabilities (classes,) for each golden photo on this machine.

    Raises:
        CheckError: They differ by more than the manifest allows.
    """
    golden, got = bundle.golden(), np.stack(probabilities)
    difference = float(np.abs(got - golden.expected).max())
    tolerance = bundle.manifest.golden.tolerance
    if not difference <= tolerance:
        raise CheckError(
            f"{bundle.root}: self-test failed: a probability differs by {difference:.4f} from that on the host, "
            f"but only {tolerance} is allowed; try another {parameter('runtime')}, or convert again"
        )
    return SelfTest(
        photos=len(got),
        max_difference=difference,
        tolerance=tolerance,
        reference_agreement=None
        if golden.reference is None
        else float((got.argmax(1) == golden.reference.argmax(1)).mean()),
    )


def bundle_truth(bundle: Bundle, photos: PhotoSet) -> IntArray:
    """Return the index (N,) of each photo's true class among the bundle's outputs. Errors are those of ``truth_of``."""
    return truth_of(photos, bundle.labels if bundle.manifest.labels_known else None, bundle.manifest.model.classes)


def _classify_files(classifier: Classifier, photos: PhotoSet, clock: Clock) -> tuple[FloatArray, PhotoSet, float]:
    """Return the probabilities of photos, the photos that could be read, and the median milliseconds of decoding.

    Photos that cannot be read are left out, for by now the time is measured, and the other photos can be scored.

    Raises:
        InputError: None of the photos can be read.
    """
    rows, decode_ns, readable, refusals = [], [], [], []
    for index, file in enumerate(photos.files):
        start = clock()
        try:
            pixels = classifier.manifest.preprocessing.pixels(file)
        except InputError as error:
            refusals.append(error)
            continue
        decode_ns.append(clock() - start)
        rows.append(classifier.classify(pixels))
        readable.append(index)
    if not rows:
        raise refusals[0]
    return np.stack(rows), photos.only(readable).without(refusals), median(decode_ns) / 1e6


def _answers(probabilities: FloatArray, truth: IntArray, labels: tuple[str, ...], photos: PhotoSet) -> Answers:
    return Answers(
        photos_sha256=photos.digest(),
        labels=labels,
        photos=tuple(photos.name_of(file) for file in photos.files),
        truth=tuple(int(index) for index in truth),
        first=tuple(int(index) for index in probabilities.argmax(1)),
        probability=tuple(round(float(best), 6) for best in probabilities.max(1)),
    )


def _sides(classifier: Classifier, pixels: UInt8Array, clock: Clock) -> tuple[float, float]:
    """Return the median times in milliseconds of preprocessing and postprocessing."""
    output = classifier.session.run(classifier.input(pixels))
    before, behind = [], []
    for _ in range(20):
        start = clock()
        classifier.input(pixels)
        middle = clock()
        classifier.probabilities(output)
        before.append(middle - start)
        behind.append(clock() - middle)
    return median(before) / 1e6, median(behind) / 1e6
