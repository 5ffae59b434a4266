"""Run a bundle on this machine: self-test, latency, accuracy, and a report that says how far to believe it."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import numpy as np

from xedge import __version__
from xedge.against import Against, check_same_model, hold_against
from xedge.bench.latency import Clock, Latency, Measured, Schedule, measure, summarize
from xedge.bench.series import Window, throttled_at_s, time_series
from xedge.bench.verdict import Verdict, judge
from xedge.bundle import Bundle
from xedge.data import PhotoSet
from xedge.device.board import Board, read_board, usable_cores
from xedge.device.contention import Contention, contention_between, read_ticks
from xedge.device.cooldown import Cooldown, cool_down
from xedge.device.readings import Reading, watching
from xedge.device.system import System
from xedge.errors import CheckError, InputError
from xedge.metrics import Accuracy, Answers, accuracy
from xedge.runtimes import Execution, Settings, choose_runtime
from xedge.runtimes.classifier import Classifier
from xedge.types import FloatArray, IntArray, UInt8Array

MOST_DEFAULT_THREADS = 4
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """How far the golden outputs are from what the host saw.

    Args:
        photos: compared.
        max_difference: greatest difference of one probability from the artifact's own on the host.
        tolerance: what was allowed.
        reference_agreement: share of photos with the float reference's first class.
    """

    photos: int
    max_difference: float
    tolerance: float
    reference_agreement: float


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Times of the parts, in milliseconds.

    Args:
        import_ms: importing the runtime's package.
        load_ms: reading and preparing the artifact.
        first_ms: the first inference.
        decode_ms: reading and decoding a photo; None without photo files.
        preprocess_ms: from decoded pixels to the input tensor.
        postprocess_ms: from the output tensor to probabilities.
        start_to_first_result_ms: from the start of the process to the first probabilities.
    """

    import_ms: float
    load_ms: float
    first_ms: float
    decode_ms: float | None
    preprocess_ms: float
    postprocess_ms: float
    start_to_first_result_ms: float


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What became of frames that came at a fixed rate.

    Args:
        rate: per second.
        done: that were classified.
        dropped: that were never looked at, because a newer one had come.
        late: that were done after the next had come.
    """

    rate: float
    done: int
    dropped: int
    late: int


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Everything that a run found; raw samples included.

    Args:
        schema: which document this is, and its version.
        xedge_version: that ran it.
        bundle: the folder's name.
        target, precision: of the artifact.
        artifact_bytes: its size, weights included.
        weights_sha256: of the model that it was made of.
        execution: what the runtime really did.
        board: the machine.
        self_test: the golden photos' outputs against the host's.
        phases: times of the parts around the steady state.
        latency: of the steady state.
        warmup_inferences: before it.
        peak_memory_bytes: of the process, until the timing ended.
        data: the folder that was scored; None where nothing was.
        accuracy: on it.
        host_top1: what the host measured when it was converted, 0 to 1.
        verdict: whether the latency can be believed.
        readings: of the board before, about once a second during, and after the timing.
        contention: what else the processor did during the timing; None where the system does not tell.
        energy_j: of one inference, by the board's own meter; None without one.
        samples_ns: every timed inference.
        frames: with a frame rate.
        series: the timing in stretches.
        throttled_at_s: when throttling began; None if it did not or the board does not tell.
        cooldown_s: how long was waited before.
        against: another bundle of the same model.
        answers: to each photo that was scored.
        budget: the verdict of the gate that the bundle came through.
    """

    schema: Literal["xedge.run/1"] = "xedge.run/1"
    xedge_version: str
    bundle: str
    target: str
    precision: str
    artifact_bytes: int
    weights_sha256: str
    execution: Execution
    board: Board
    readings: tuple[Reading, ...]
    contention: Contention | None
    energy_j: float | None
    self_test: SelfTest
    phases: Phases
    latency: Latency
    warmup_inferences: int
    samples_ns: tuple[int, ...]
    frames: Frames | None
    series: tuple[Window, ...]
    throttled_at_s: float | None
    cooldown_s: float | None
    peak_memory_bytes: int
    data: str | None
    accuracy: Accuracy | None
    answers: Answers | None = None
    host_top1: float | None
    against: Against | None
    budget: str | None
    verdict: Verdict

    def __post_init__(self) -> None:
        if not self.samples_ns or not self.readings:
            raise ValueError("a run without samples or without readings of the board")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the user can choose; ``threads`` None takes the cores, four at most."""

    threads: int | None = None
    runtime: str | None = None
    provider: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    cooldown: Cooldown | None = None

    def thread_count(self) -> int:
        """Return the number of threads to use."""
        return self.threads or min(usable_cores(), MOST_DEFAULT_THREADS)

    def settings(self, bundle: Bundle) -> Settings:
        """Return how a bundle's artifact is run: what is asked to be fp32 computes in float32."""
        precision = bundle.manifest.precision
        return Settings(
            threads=self.thread_count(),
            provider=self.provider,
            exact=precision == "fp32",
            integers=precision == "int8",
            engines=bundle.engines,
        )


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
        bundle: checked and open.
        photos: to score, labelled for accuracy; None leaves accuracy out.
        options: threads, runtime and schedule.
        other: a bundle of the same model to hold it against.
        progress: told what is being done.
        clock: nanoseconds.
        system: the board.

    Raises:
        CheckError: the golden outputs differ from the host's.
        InputError: the photos' classes do not fit the bundle's.
    """
    if other is not None:
        check_same_model(bundle, other)
    truth = truth_of(photos, bundle) if photos is not None and photos.labelled else None
    system = system or System()
    board = read_board(system)
    cooled_s = cool_down(options.cooldown, system) if options.cooldown is not None else None
    pixels = bundle.golden().pixels
    started = _start(bundle, pixels[0], options, clock)
    classifier = started.classifier
    progress("self-test with the golden photos")
    self_test = check_golden(bundle, [started.first, *(classifier.classify(one) for one in pixels[1:])])
    progress("latency")
    timing = _timed(classifier, pixels[0], options.schedule, clock, system)
    scored, answers, decode_ms = None, None, None
    if photos is not None and truth is not None:
        progress(f"accuracy on {len(photos.files)} photos")
        labels = bundle.labels if bundle.manifest.labels_known else photos.classes
        probabilities, decode_ms = _classify_files(classifier, photos, clock)
        scored = accuracy(probabilities, truth, labels)
        answers = _answers(probabilities, truth, labels, photos)
    against = None
    if other is not None:
        progress(f"in turns with {other.root.name}")
        against = hold_against(bundle, classifier, other, photos, options.settings(other), clock)
    return RunReport(
        **_identity(bundle),
        execution=classifier.session.execution(),
        board=board,
        readings=timing.readings,
        contention=timing.contention,
        energy_j=_energy_j(timing.latency, timing.readings),
        self_test=self_test,
        phases=_phases(started, decode_ms, pixels[0], clock),
        latency=timing.latency,
        warmup_inferences=timing.measured.warmups,
        samples_ns=timing.measured.samples_ns,
        frames=_frames(options.schedule, timing.measured),
        series=time_series(timing.measured, timing.readings),
        throttled_at_s=throttled_at_s(timing.readings),
        cooldown_s=cooled_s,
        peak_memory_bytes=timing.peak_memory_bytes,
        data=str(photos.root) if photos is not None else None,
        accuracy=scored,
        answers=answers,
        against=against,
        verdict=judge(timing.latency, board, timing.readings, timing.contention),
    )


def _identity(bundle: Bundle) -> dict[str, Any]:
    """The fields of a report that say what ran and what the host knew of it."""
    manifest = bundle.manifest
    return {
        "xedge_version": __version__,
        "bundle": bundle.root.name,
        "target": manifest.target,
        "precision": manifest.precision,
        "artifact_bytes": bundle.artifact_bytes,
        "weights_sha256": manifest.model.weights_sha256,
        "host_top1": manifest.accuracy.artifact.top1 if manifest.accuracy else None,
        "budget": manifest.gate.verdict if manifest.gate is not None else None,
    }


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """The steady state, and the board meanwhile."""

    measured: Measured
    latency: Latency
    readings: tuple[Reading, ...]
    contention: Contention | None
    peak_memory_bytes: int


def _timed(classifier: Classifier, pixels: UInt8Array, schedule: Schedule, clock: Clock, system: System) -> _Timing:
    """Time one photo's inference again and again, with an eye on the board."""
    tensor, before = classifier.input(pixels), read_ticks(system)
    with watching(system) as readings:
        measured = measure(lambda: classifier.session.run(tensor), schedule, clock)
    return _Timing(
        measured=measured,
        latency=summarize(measured.samples_ns),
        readings=tuple(readings),
        contention=contention_between(before, read_ticks(system)),
        # Of serving photos; scoring a folder afterwards keeps probabilities, which a camera loop would not.
        peak_memory_bytes=_peak_memory_bytes(),
    )


def _frames(schedule: Schedule, measured: Measured) -> Frames | None:
    if schedule.rate is None or measured.dropped is None or measured.late is None:
        return None
    return Frames(rate=schedule.rate, done=len(measured.samples_ns), dropped=measured.dropped, late=measured.late)


def _energy_j(latency: Latency, readings: Sequence[Reading]) -> float | None:
    """The board's energy for one inference, idle share included, while inferences run one after another."""
    # The first and the last reading are taken while nothing runs.
    watts = [reading.power.watts for reading in readings[1:-1] if reading.power is not None]
    return mean(watts) * latency.mean_ms / 1000 if watts else None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Started:
    """A classifier that gave its first result, and how long each step to it took."""

    classifier: Classifier
    first: FloatArray
    import_ms: float
    load_ms: float
    first_ms: float
    start_to_first_result_ms: float


def _start(bundle: Bundle, pixels: UInt8Array, options: RunOptions, clock: Clock) -> _Started:
    """Import the runtime, load the artifact and classify one photo, each timed apart."""
    runtime = choose_runtime(bundle.manifest.target, options.runtime)
    begin = clock()
    runtime.load()
    imported = clock()
    classifier = Classifier(runtime.open(bundle.artifact, options.settings(bundle)), bundle.manifest)
    loaded = clock()
    first = classifier.classify(pixels)
    return _Started(
        classifier=classifier,
        first=first,
        import_ms=(imported - begin) / 1e6,
        load_ms=(loaded - imported) / 1e6,
        first_ms=(clock() - loaded) / 1e6,
        start_to_first_result_ms=_process_age_ms(),
    )


def _phases(started: _Started, decode_ms: float | None, pixels: UInt8Array, clock: Clock) -> Phases:
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
    """Compare probabilities of the golden photos with the host's.

    Raises:
        CheckError: they differ by more than the manifest allows.
    """
    golden, got = bundle.golden(), np.stack(probabilities)
    difference = float(np.abs(got - golden.expected).max())
    tolerance = bundle.manifest.golden.tolerance
    if not difference <= tolerance:
        raise CheckError(
            f"{bundle.root}: self-test failed: a probability differs by {difference:.4f} from the host's, "
            f"{tolerance} is allowed; another runtime (--runtime) or a new conversion may help"
        )
    return SelfTest(
        photos=len(got),
        max_difference=difference,
        tolerance=tolerance,
        reference_agreement=float((got.argmax(1) == golden.reference.argmax(1)).mean()),
    )


def truth_of(photos: PhotoSet, bundle: Bundle) -> IntArray:
    """Return each photo's class index (N,) among the bundle's outputs.

    Folders are matched with the labels by name; a bundle without labels takes the folders in alphabetical order, as
    Keras numbers them.

    Raises:
        InputError: the folders are not the bundle's classes.
    """
    classes = bundle.manifest.model.classes
    if not bundle.manifest.labels_known:
        if len(photos.classes) != classes:
            raise InputError(
                f"{photos.root}: {len(photos.classes)} class folders for a model of {classes} classes; "
                "give photos of all its classes, or convert with --labels FILE"
            )
        return np.array(photos.truth, np.int64)
    unknown = sorted(set(photos.classes) - set(bundle.labels))
    if unknown:
        raise InputError(
            f"{photos.root}: the class folder {unknown[0]!r} is none of the bundle's {classes} labels "
            f"({', '.join(bundle.labels[:5])}{', ...' if classes > 5 else ''}); rename it, or convert with --labels"
        )
    index = {label: i for i, label in enumerate(bundle.labels)}
    return np.array([index[photos.classes[i]] for i in photos.truth], np.int64)


def _classify_files(classifier: Classifier, photos: PhotoSet, clock: Clock) -> tuple[FloatArray, float]:
    rows, decode_ns = [], []
    for file in photos.files:
        start = clock()
        pixels = classifier.manifest.preprocessing.pixels(file)
        decode_ns.append(clock() - start)
        rows.append(classifier.classify(pixels))
    return np.stack(rows), median(decode_ns) / 1e6


def _answers(probabilities: FloatArray, truth: IntArray, labels: tuple[str, ...], photos: PhotoSet) -> Answers:
    return Answers(
        photos_sha256=photos.digest(),
        labels=labels,
        photos=tuple(file.relative_to(photos.root).as_posix() for file in photos.files),
        truth=tuple(int(index) for index in truth),
        first=tuple(int(index) for index in probabilities.argmax(1)),
        probability=tuple(round(float(best), 6) for best in probabilities.max(1)),
    )


def _sides(classifier: Classifier, pixels: UInt8Array, clock: Clock) -> tuple[float, float]:
    """Return the median milliseconds before and behind the inference."""
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


def _peak_memory_bytes() -> int:
    """The most that this process held; Linux' getrusage would also tell of the process that started it."""
    told = System().fields("proc/self/status").get("VmHWM")
    if told is not None:
        return int(told.split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _process_age_ms() -> float:
    """Milliseconds since this process started, from Linux' own record; else since Python could first tell."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return 1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / 100)
    except (OSError, ValueError, IndexError, AttributeError):
        return 1000 * time.process_time()
