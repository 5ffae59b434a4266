"""Reports that no command made: plain constructors with figures of a quiet board, and keywords for what is tested.

A test of what is made of a report, such as a comparison, a page or a verdict, takes its reports from here. It does not
wait for a conversion, and its figures are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xedge.api.documents import read_document
from xedge.codec import to_json
from xedge.device.board import Board
from xedge.device.readings import Reading
from xedge.device.throttling import Throttling
from xedge.evaluating.report import Against, ClassDrop, EvaluatedBundle, EvaluateReport
from xedge.files import write_file
from xedge.inspection.analysis import AnalyzeReport, LayerReport
from xedge.inspection.verification import MemberReport, Pair, TensorDifference, Thresholds, VerifyReport
from xedge.measuring.latency import Latency, summarize
from xedge.measuring.profile import OperationTime, Profile
from xedge.measuring.recommendation import BenchmarkReport, Row
from xedge.measuring.report import Phases, RunReport, SelfTest
from xedge.measuring.rounds import Measured
from xedge.measuring.series import Window
from xedge.measuring.verdict import Verdict
from xedge.metrics import Accuracy, Agreement, Answers, Confusion, Drop, accuracy, confusion, wilson
from xedge.models.compact import embedded
from xedge.photos.sets import PhotoSet
from xedge.remote.failure import Failure
from xedge.remote.fleet import Stage
from xedge.remote.fleet_run import FleetMachine, FleetRun, spreads_of
from xedge.remote.run import HostFigures, RemoteRun
from xedge.runtimes import Execution, Role
from xedge.runtimes.audit import Audit
from xedge.vocabulary import Precision

WEIGHTS = "ab" * 32
# The answers of the float run are wrong at every so many photos, those of the int8 run at these places besides.
WRONG_EVERY = 8
CHANGED_BY_INT8 = (3, 100, 201)


def board(**changes: Any) -> Board:
    """A board with four cores at a fixed clock."""
    quiet = Board(
        model="test board",
        soc=None,
        machine="aarch64",
        cores=4,
        core_mhz=(1500.0,) * 4,
        governors=("performance",),
        memory_bytes=1 << 30,
        jetson=None,
        emulated=False,
    )
    return replace(quiet, **changes)


def reading(**changes: Any) -> Reading:
    """The board at a moment at which nothing slows it."""
    quiet = Reading(
        at_s=0.0,
        temperatures_c={"cpu": 40.0},
        core_mhz=(1500.0,) * 4,
        throttling=Throttling(),
        memory_available_bytes=1 << 29,
        swap_used_bytes=0,
        power=None,
    )
    return replace(quiet, **changes)


def steady_ns(milliseconds: float, count: int = 100) -> tuple[int, ...]:
    """Samples that hardly vary, in a pattern that has nothing to do with their order."""
    return tuple(int(milliseconds * 1e6) + 1000 * (7 * i % 11) for i in range(count))


def latency(milliseconds: float = 1.0, count: int = 200) -> Latency:
    """The figures of steady samples."""
    return summarize(steady_ns(milliseconds, count))


def execution(**changes: Any) -> Execution:
    """ai-edge-litert with everything in its delegate."""
    quiet = Execution(
        runtime="ai-edge-litert",
        version="2.1.0",
        threads=2,
        delegate="XNNPACK",
        operators=90,
        delegated=90,
        partitions=1,
    )
    return replace(quiet, **changes)


@cache
def photos() -> PhotoSet:
    """The embedded model's labelled photos, so that a page finds the files."""
    return embedded.test_photos()


def answers(wrong: Sequence[int] = (), **changes: Any) -> Answers:
    """Answers to the embedded model's photos: the truth, and the next class at the places that are wrong."""
    found = photos()
    assert found.truth is not None
    first = list(found.truth)
    for place in wrong:
        first[place] = (first[place] + 1) % len(found.classes)
    told = Answers(
        photos_sha256="cd" * 32,
        labels=embedded.labels(),
        photos=tuple(found.name_of(file) for file in found.files),
        truth=tuple(found.truth),
        first=tuple(first),
        probability=(0.9,) * len(first),
    )
    return replace(told, **changes)


def accuracy_of(told: Answers) -> Accuracy:
    """The figures that answers have."""
    probabilities = np.eye(len(told.labels), dtype=np.float32)[list(told.first)]
    return accuracy(probabilities, np.array(told.truth))


def confusion_of(told: Answers) -> Confusion:
    """The confusion that answers have."""
    return confusion(np.array(told.first), np.array(told.truth), told.labels)


def share(right: int, count: int) -> Accuracy:
    """So many photos right, without more."""
    return Accuracy(
        photos=count,
        top1=right / count,
        top5=None,
        interval95=wilson(right, count),
    )


def run(milliseconds: float = 2.0, wrong: Sequence[int] | None = None, **changes: Any) -> RunReport:
    """A valid run of the fp32 bundle.

    Args:
        milliseconds: What an inference takes.
        wrong: The places of the photos with a wrong answer; None takes every eighth.
        changes: Fields with other values; what follows from answers and samples follows from those given.
    """
    found = photos()
    told = answers(range(0, len(found.files), WRONG_EVERY) if wrong is None else wrong)
    told = changes.pop("answers", told)
    samples = changes.pop("samples_ns", steady_ns(milliseconds))
    quiet = RunReport(
        xedge_version="0.1.0",
        bundle="tflite_fp32",
        target="tflite",
        precision="fp32",
        artifact_bytes=6_390_000,
        weights_sha256=WEIGHTS,
        execution=execution(),
        board=board(),
        readings=(reading(), reading(at_s=1.0)),
        contention=None,
        energy_j=None,
        self_test=SelfTest(photos=4, max_difference=1e-6, tolerance=1e-3, reference_agreement=1.0),
        phases=phases(),
        latency=summarize(samples),
        warmup_inferences=100,
        samples_ns=samples,
        frames=None,
        series=(window(),),
        throttled_at_s=None,
        cooldown_s=None,
        peak_memory_bytes=90_000_000,
        data=str(found.root),
        accuracy=accuracy_of(told) if told is not None else None,
        confusion=confusion_of(told) if told is not None else None,
        answers=told,
        host_top1=0.875,
        against=None,
        budget=None,
        verdict=Verdict(valid=True, reasons=()),
    )
    return replace(quiet, **changes)


def int8_run(milliseconds: float = 1.0, **changes: Any) -> RunReport:
    """A valid run of the int8 bundle, which answers otherwise to three photos that float had right."""
    wrong = sorted({*range(0, len(photos().files), WRONG_EVERY), *CHANGED_BY_INT8})
    known = {"bundle": "tflite_int8", "precision": "int8", "artifact_bytes": 1_750_000, **changes}
    return run(milliseconds, wrong, **known)


def phases(**changes: Any) -> Phases:
    """The parts around an inference, in milliseconds."""
    quiet = Phases(
        import_ms=200.0,
        load_ms=20.0,
        first_ms=5.0,
        decode_ms=1.0,
        preprocess_ms=0.1,
        postprocess_ms=0.1,
        start_to_first_result_ms=400.0,
    )
    return replace(quiet, **changes)


def window(**changes: Any) -> Window:
    """A stretch of a run."""
    quiet = Window(at_s=1.0, inferences=500, median_ms=2.0, max_ms=2.5, temperature_c=40.0, core_mhz=1500.0)
    return replace(quiet, **changes)


def course(seconds: int = 7) -> tuple[Window, ...]:
    """A run in stretches of a second."""
    return tuple(window(at_s=float(second), max_ms=2.5 + second / 10) for second in range(1, seconds + 1))


def in_turns(one: RunReport, rounds_ms: Sequence[float] = ()) -> Measured:
    """A run with the medians of its turns; without them it was not timed in turns."""
    return Measured(run=one, rounds_ms=tuple(rounds_ms))


def row(target: str, precision: Precision, rounds_ms: Sequence[float] = (1.0,), **changes: Any) -> Row:
    """A benchmark's row of something that ran."""
    middle = sorted(rounds_ms)[len(rounds_ms) // 2]
    sizes = {"fp32": 6_390_000, "fp16": 3_220_000, "dynamic": 1_800_000, "int8": 1_750_000}
    ran = run(
        middle, bundle=f"{target}_{precision}", target=target, precision=precision, artifact_bytes=sizes[precision]
    )
    ran = replace(ran, latency=replace(ran.latency, p50_ms=middle))
    known = Row(target=target, precision=precision, error=None, bundle=None, measured=in_turns(ran, rounds_ms))
    return replace(known, **changes)


def failed_row(target: str, precision: Precision, error: str = "no such thing") -> Row:
    """A benchmark's row of something that could not be made."""
    return Row(target=target, precision=precision, error=error, bundle=None, measured=None)


def benchmark(*rows: Row, **changes: Any) -> BenchmarkReport:
    """A benchmark without a recommendation."""
    return replace(BenchmarkReport(model="mine", rounds=1, rows=rows, recommendation=None), **changes)


def remote_run(*runs: RunReport, **changes: Any) -> RemoteRun:
    """Runs on another machine, one of which failed."""
    brought = RemoteRun(
        destination="pi@pi",
        doctor={},
        runs=runs,
        host=tuple(HostFigures(ms=None, top1=None) for _ in runs),
        failures={"big": Failure(message="killed", exit_code=7)},
    )
    return replace(brought, **changes)


def fleet_run(*runs: RunReport, failed: Mapping[str, str] | None = None) -> FleetRun:
    """Runs on several machines, each of which has one, and machines that failed."""
    machines = [
        FleetMachine(
            name=f"pi{number}",
            destination=f"pi{number}",
            runs=remote_run(replace(run, bundle=runs[0].bundle), failures={}),
            failure=None,
            transcript=(Stage(at_s=1.5, line="run        bundle"),),
        )
        for number, run in enumerate(runs)
    ]
    machines += [
        FleetMachine(name=name, destination=name, runs=None, failure=Failure(message=why, exit_code=7), transcript=())
        for name, why in (failed or {}).items()
    ]
    return FleetRun(machines=tuple(machines), spreads=spreads_of(machines))


def agreement(same: int = 49, count: int = 50, **changes: Any) -> Agreement:
    """Most photos with the same first class."""
    quiet = Agreement(
        photos=count,
        agreement=same / count,
        interval95=wilson(same, count),
        total_variation=0.01,
        max_difference=0.2,
        logit_snr_db=20.0,
    )
    return replace(quiet, **changes)


def audit(**changes: Any) -> Audit:
    """What a runtime executes of an int8 artifact."""
    quiet = Audit(
        execution=execution(),
        integer=60,
        floating=2,
        conversions=4,
        integer_products=38,
        float_products=1,
        integer_share=0.99,
        kinds={"CONV_2D int8": 20, "DEPTHWISE_CONV_2D int8": 18, "FULLY_CONNECTED float32": 1},
        finding="integer",
    )
    return replace(quiet, **changes)


def pair(first: str, second: str, **changes: Any) -> Pair:
    """Two artifacts that agree."""
    quiet = Pair(
        first=first,
        second=second,
        outputs=agreement(),
        mean_difference=0.001,
        tensors=50,
        parting=None,
        worst=TensorDifference(tensor="block4_sepconv2", snr_db=25.0),
        parting_db=12.0,
    )
    return replace(quiet, **changes)


def verification(**changes: Any) -> VerifyReport:
    """A float and an int8 artifact that were compared with each other."""
    members = (
        MemberReport(
            name="tflite fp32", precision="fp32", accuracy=share(44, 50), confusion=None, audit=audit(finding="float")
        ),
        MemberReport(name="tflite int8", precision="int8", accuracy=share(43, 50), confusion=None, audit=audit()),
    )
    quiet = VerifyReport(
        photos=50,
        data=str(photos().root),
        members=members,
        pairs=(pair("tflite fp32", "tflite int8"),),
        demands=Thresholds(),
        verdict="passed",
        failures=(),
    )
    return replace(quiet, **changes)


def layer(name: str, alone_db: float | None, **changes: Any) -> LayerReport:
    """A layer and the noise that it makes alone."""
    quiet = LayerReport(
        layer=name,
        multiply_accumulates=0.25,
        alone_db=alone_db,
        weights_db=40.0,
        activations_db=35.0,
        without_db=22.0,
        spread=2.0,
        spread_before=8.0,
        clipped=0.001,
        time=0.2,
    )
    return replace(quiet, **changes)


def analysis(**changes: Any) -> AnalyzeReport:
    """Four layers of a network, in its order and not in the noise's."""
    noise = {"block1_conv1": 40.0, "block2_sepconv1": 25.0, "block2_sepconv2": None, "predictions": 30.0}
    quiet = AnalyzeReport(
        model="xception_compact",
        target="onnx",
        photos=8,
        calibration_photos=100,
        everything_db=20.0,
        weights_db=24.0,
        activations_db=23.0,
        layers=tuple(layer(name, alone_db) for name, alone_db in noise.items()),
    )
    return replace(quiet, **changes)


def profile() -> Profile:
    """The operations of two layers: one in float, a conversion and three in integers."""
    told: tuple[tuple[str, float, Role], ...] = (
        ("block1_conv1/relu", 0.1, "float"),
        ("quantize", 0.05, "conversion"),
        ("block2_sepconv1/depthwise", 0.3, "integer"),
        ("block2_sepconv1", 0.5, "integer"),
        ("predictions", 0.05, "integer"),
    )
    operations = tuple(
        OperationTime(name=name, ms=ms, share=ms, role=role, kernels=(f"kernel_of_{role}",)) for name, ms, role in told
    )
    return Profile(operations=operations, total_ms=1.0)


def evaluation(**changes: Any) -> EvaluateReport:
    """The evaluation of the two runs' bundles on 1000 photos, of which the int8 one lost fifteen of one class."""
    float_run, fewer = run(), share(860, 1000)
    lost = Drop(points=1.5, interval95=(0.75, 2.5), mcnemar_p=0.0001, lost=15, won=0)
    against = Against(
        agreement=agreement(985, 1000, photos=1000),
        total_variation95=(0.01, 0.02),
        drop=lost,
        classes=(ClassDrop(index=0, label="dress", lost=15, won=0, mcnemar_p=0.0001, holm_p=0.001),),
        photos_to_prove=None,
        verdict="not met",
    )
    first = EvaluatedBundle(
        bundle="tflite_fp32",
        target="tflite",
        precision="fp32",
        artifact_bytes=float_run.artifact_bytes,
        weights_sha256=WEIGHTS,
        runtime="ai-edge-litert 2.1.0",
        accuracy=share(875, 1000),
        top5_interval95=None,
        confusion=None,
        answers=None,
        against=None,
    )
    second = replace(
        first, bundle="tflite_int8", precision="int8", artifact_bytes=1_750_000, accuracy=fewer, against=against
    )
    quiet = EvaluateReport(
        xedge_version="0.1.0",
        data="/photos",
        photos=1000,
        photos_sha256="cd" * 32,
        damaged=(),
        left_out=(),
        reference="tflite_fp32",
        max_drop_points=0.5,
        min_agreement=None,
        environment={"python": "3.11"},
        processors=("a processor",),
        bundles=(first, second),
    )
    return replace(quiet, **changes)


def written(path: Path, document: Any) -> Path:
    """Write a report as ``--json FILE`` does; what is read back is the same."""
    import json

    write_file(path, (json.dumps(to_json(document), indent=2) + "\n").encode())
    assert read_document(path) == document
    return path
