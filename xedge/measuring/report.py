"""What a run reports: every figure, with the raw samples that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xedge.device.board import Board
from xedge.device.contention import Contention
from xedge.device.readings import Reading
from xedge.measuring.against import Against
from xedge.measuring.latency import Latency
from xedge.measuring.series import Window
from xedge.measuring.verdict import Verdict
from xedge.metrics import Accuracy, Answers
from xedge.runtimes import Execution


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
