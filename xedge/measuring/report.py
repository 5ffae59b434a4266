"""The report of a run: every figure, and the raw samples from which the figures were derived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xedge.device.board import Board
from xedge.device.contention import Contention
from xedge.device.readings import Reading
from xedge.measuring.against import Against
from xedge.measuring.cold import ColdStarts
from xedge.measuring.energy import Energy
from xedge.measuring.latency import Latency
from xedge.measuring.profile import Profile
from xedge.measuring.series import Window
from xedge.measuring.streams import Streams
from xedge.measuring.verdict import Verdict
from xedge.metrics import ROUNDING, Accuracy, Answers, Confusion
from xedge.runtimes import Execution
from xedge.vocabulary import Ranges, artifact_name


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """How far the outputs for the golden photos are from those on the host.

    Args:
        photos: The number of golden photos that were compared.
        max_difference: The greatest difference of one probability from that of the same artifact on the host.
        tolerance: The greatest difference that is allowed.
        reference_agreement: The share of photos with the same top-1 class as the float reference, 0 to 1; None if the
            bundle was wrapped without one.
    """

    photos: int
    max_difference: float
    tolerance: float
    reference_agreement: float | None


@dataclass(frozen=True, kw_only=True)
class Phases:
    """The times of the steps around the steady state, in milliseconds.

    Args:
        import_ms: The time to import the runtime's package.
        load_ms: The time to read and prepare the artifact.
        first_ms: The latency of the first inference.
        decode_ms: The median time to read and decode a photo; None without photo files.
        preprocess_ms: The median time from the decoded pixels to the input tensor.
        postprocess_ms: The median time from the output tensor to the probabilities.
        start_to_first_result_ms: The time from the start of the process to the first probabilities.
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
    """What became of frames that arrived at a fixed rate.

    Args:
        rate: The number of frames that arrived per second.
        done: The number of frames that were classified.
        dropped: The number of frames that were skipped because a newer one had arrived.
        late: The number of frames that were done only after the next one had arrived.
    """

    rate: float
    done: int
    dropped: int
    late: int


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Everything that a run found, raw samples included.

    Args:
        schema: The kind of this document and its version.
        xedge_version: The version of xedge that ran the bundle.
        bundle: The name of the bundle's folder.
        target: The target of the artifact.
        precision: The precision of the artifact.
        ranges: Where the ranges of an int8 artifact come from, for targets that offer a choice; None for the others.
        artifact_bytes: The size of the artifact in bytes, weights included.
        weights_sha256: The sha256 of the weights of the model from which the artifact was made.
        execution: What the runtime really did with the artifact.
        board: The machine on which the bundle ran.
        readings: The readings of the board before the timing, about once a second during it, and after it.
        contention: What else the processor did during the timing; None if the system does not report it.
        energy_j: The board's energy for one inference in joules, by its own meter; None without a meter.
        energy: The same with and without the power of the idle board; None without a meter.
        self_test: How far the outputs for the golden photos are from those on the host.
        phases: The times of the steps around the steady state.
        latency: The latency in the steady state.
        warmup_inferences: The number of inferences in the warm-up.
        samples_ns: The latency of every timed inference in nanoseconds; of a run with more than 65,536, every second
            one, or fewer.
        frames: What became of the frames; None without a frame rate.
        series: The timing as a time series.
        throttled_at_s: The time at which throttling began, in seconds from the first reading; None if it did not begin,
            or if the board does not report it.
        cooldown_s: The time in seconds that the run waited for the board to cool before it; None if it did not wait.
        peak_memory_bytes: The peak memory of the process in bytes, up to the end of the timing.
        data: The folder of the photos that were scored; None if nothing was scored.
        left_out: What of this folder was not scored, in words.
        accuracy: The accuracy on these photos; None without labelled photos.
        confusion: What was answered to the photos of each class; None without labelled photos.
        answers: The answer to each photo that was scored; None without labelled photos.
        host_top1: The artifact's top-1 accuracy on the host at conversion, 0 to 1; None if it was not measured.
        host_photos_sha256: The sha256 over the photos on which this was measured; None if it was not measured.
        against: The comparison with another bundle of the same model; None without one.
        streams: The multistream and offline scenarios; None if they were not asked for.
        cold_starts: Starts in fresh processes; None if they were not asked for.
        profile: The times of the operations; None if they were not asked for, or are in ``not_measured``.
        not_measured: What was asked for besides and could not be measured, each with the reason.
        notes: What is known against the bundle's precision on this processor, in words.
        budget: The gate's verdict on the budget when the bundle was made; None without a budget.
        verdict: The verdict on whether the latency can be believed.
    """

    schema: Literal["xedge.run/2"] = "xedge.run/2"
    xedge_version: str
    bundle: str
    target: str
    precision: str
    ranges: Ranges | None = None
    artifact_bytes: int
    weights_sha256: str
    execution: Execution
    board: Board
    readings: tuple[Reading, ...]
    contention: Contention | None
    energy_j: float | None
    energy: Energy | None = None
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
    confusion: Confusion | None
    answers: Answers | None = None
    left_out: tuple[str, ...] = ()
    host_top1: float | None
    host_photos_sha256: str | None = None
    against: Against | None
    streams: Streams | None = None
    cold_starts: ColdStarts | None = None
    profile: Profile | None = None
    not_measured: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    budget: str | None
    verdict: Verdict

    @property
    def artifact_name(self) -> str:
        """The target and the precision, with the ranges of int8 where they were chosen."""
        return artifact_name(self.target, self.precision, self.ranges)

    @property
    def same_photos_as_host(self) -> bool:
        """Whether the run scored the photos on which the host measured ``host_top1``."""
        return self.answers is not None and self.answers.photos_sha256 == self.host_photos_sha256

    def __post_init__(self) -> None:
        if not self.samples_ns or not self.readings:
            raise ValueError("a run without samples or without readings of the board")
        if self.latency.p50_ms <= 0 or min(self.samples_ns) < 0:
            raise ValueError("a latency that is not positive")
        scored = self.accuracy
        if scored is None:
            if self.confusion is not None or self.answers is not None:
                raise ValueError("confusion and answers of a run without accuracy")
            return
        told = []
        if self.confusion is not None:
            told.append(("confusion", self.confusion.photos, self.confusion.right))
        if self.answers is not None:
            told.append(("answers", len(self.answers.photos), self.answers.right))
        for name, photos, right in told:
            if photos != scored.photos or abs(right / photos - scored.top1) > ROUNDING:
                raise ValueError(f"accuracy and {name} contradict each other")
