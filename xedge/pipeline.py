"""From a model to checked bundles: read, calibrate, convert, run on this machine, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xedge.bench.latency import in_turns
from xedge.bundle import GoldenData, write_bundle
from xedge.device.board import usable_cores
from xedge.errors import InputError, UsageError, XedgeError
from xedge.ladder import Ladder
from xedge.manifest import HostAccuracy, Manifest, Speed
from xedge.memory import caller_set_aside, give_memory_back, return_large_blocks
from xedge.metrics import accuracy, agreement
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier
from xedge.target import Form, Target, find_target
from xedge.vocabulary import Precision
from xedge.work import Report, Request, Stages, Work, written


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One bundle that was made, and where."""

    path: Path
    manifest: Manifest
    artifact_bytes: int


# Told the target, the precision and the error of what could not be made.
Failed = Callable[[str, Precision, XedgeError], None]


def convert(
    request: Request,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
    failed: Failed | None = None,
) -> list[Converted]:
    """Make the bundles.

    Args:
        request: what is wanted.
        report: told one line as each stage ends.
        progress: told how far a long stage is.
        failed: told what could not be made, and the others are; None raises the error.

    Raises:
        XedgeError: with a line for the user.
    """
    _check_inputs(request)
    targets = [find_target(name) for name in request.targets]
    forms = [
        Form(precision=p, io=request.io if p == "int8" else "float32", batch=request.batch) for p in request.precisions
    ]
    if failed is None:
        for target in targets:
            for form in forms:
                target.check(form)
    if request.budget.demands and "int8" not in request.precisions:
        raise UsageError("--max-drop and --min-agreement are budgets of int8; add --precision int8")
    stages = Stages(report=report)
    return_large_blocks()
    with caller_set_aside(), tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        work = Work(request, Path(scratch), stages, progress)
        if request.pixels:
            forms = [replace(form, pixels=work.pixels()) for form in forms]
        wanted = [(target, form) for target in targets for form in forms]
        ladder, made = Ladder(work), []
        for target, form in wanted:
            try:
                target.check(form)
                made.append(_make(work, target, form, ladder, last=(target, form) == wanted[-1]))
            except XedgeError as error:
                if failed is None:
                    raise
                failed(target.name, form.precision, error)
        return made


def _check_inputs(request: Request) -> None:
    """Fail on what can be seen wrong before the model is read."""
    for folder in (request.data, request.calibration, request.selection):
        if folder is not None and not folder.exists():
            raise InputError(f"{folder}: no such folder of photos")
    if request.labels is not None and not request.labels.is_file():
        raise InputError(f"{request.labels}: no such file of labels")
    if request.calibration_count < 1:
        raise InputError(f"--calibration-count {request.calibration_count}: at least one photo is needed")


def _make(work: Work, target: Target, form: Form, ladder: Ladder, *, last: bool) -> Converted:
    """Convert to one target and form, run it here, write the bundle; after the last one no graph is kept."""
    stem = f"{work.request.source.name}_{form.precision}"
    if work.photos is not None:
        work.reference_rows(work.photos)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        gate = None
        made = work.artifact(target, form, Path(scratch) / stem)
        if form.precision == "int8" and work.request.budget.demands:
            made, gate = ladder.within_budget(target, made, Path(scratch) / "rungs")
        made = replace(made, coverage=work.coverage(made))
        files, plan = made.files, made.plan
        manifest = replace(work.manifest(target, made), gate=gate)
        form = made.form
        sibling = _float_sibling(work, target, form, Path(scratch) / "float" / stem)
        if last:
            work.forget_graph()
        give_memory_back()
        settings = Settings(threads=usable_cores(), exact=True, few=work.photos is None)
        session = choose_runtime(target.name).open(files[0], settings)
        classifier = Classifier(session, manifest)
        expected = np.stack([classifier.classify(pixels) for pixels in work.golden_pixels])
        manifest = _scored(work, manifest, classifier)
        if sibling is not None:
            manifest = replace(manifest, speed=_speed(work, target, classifier, sibling))
        del session, classifier
        give_memory_back()
        with work.stages.stage("write") as words:
            golden = GoldenData(pixels=work.golden_pixels, reference=work.golden_reference, expected=expected)
            named = {file.name: file for file in files}
            size = sum(file.stat().st_size for file in files)
            destination = _destination(work, target, form)
            changes = {name: (c.scale, c.shift) for name, c in plan.changes.items()} if plan is not None else {}
            zipped = work.request.zipped
            path = write_bundle(destination, manifest, work.labels, named, golden, changes, zipped=zipped)
            words.append(str(path))
    return Converted(path=path, manifest=manifest, artifact_bytes=size)


def _float_sibling(work: Work, target: Target, form: Form, path: Path) -> Path | None:
    """Write the same model in fp32, for what is quantized and measured here, photo by photo."""
    graph = work.reference.graph
    quantized = form.precision in ("int8", "dynamic")
    if work.photos is None or graph is None or not quantized or form.batch != 1:
        return None
    path.parent.mkdir(parents=True)
    return written(path, target.convert(graph, replace(form, precision="fp32", io="float32", pixels=None)))[0]


def _speed(work: Work, target: Target, classifier: Classifier, sibling: Path) -> Speed:
    """Time an artifact and its float sibling in turns on this machine."""
    with work.stages.stage("time") as words:
        settings = Settings(threads=usable_cores())
        session = choose_runtime(target.name).open(sibling, settings)
        photo = work.preprocessing.scaled(work.golden_pixels[:1])
        fed = np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if target.layout == "NCHW" else photo
        tensor = classifier.input(work.golden_pixels[0])
        pair = in_turns(lambda: classifier.session.run(tensor), lambda: session.run(fed), time.perf_counter_ns)
        words.append(f"{pair.first_ms:.2f} ms; in float {pair.second_ms:.2f} ms")
    return Speed(ms=pair.first_ms, float_ms=pair.second_ms, ratio=pair.ratio, threads=usable_cores())


def _scored(work: Work, manifest: Manifest, classifier: Classifier) -> Manifest:
    """The manifest with what the artifact scores on the labelled photos."""
    if work.photos is None:
        return manifest
    reference = work.reference_rows(work.photos)
    truth = work.truth(work.photos)
    with work.stages.stage("evaluate") as words:
        rows = []
        for done, file in enumerate(work.photos.files, start=1):
            rows.append(classifier.classify(work.preprocessing.pixels(file)))
            work.progress(f"evaluate {done}/{len(work.photos.files)} photos")
        got = np.stack(rows)
        scored = HostAccuracy(
            data=work.photos.root.name,
            sha256=work.photos.digest(),
            artifact=accuracy(got, truth, work.labels),
            reference=accuracy(reference, truth, work.labels),
            agreement=agreement(got, reference),
        )
        words.append(f"{manifest.precision} on {len(rows)} photos")
    return replace(manifest, accuracy=scored)


def _destination(work: Work, target: Target, form: Form) -> Path:
    request = work.request
    if request.output is None:
        return Path(f"{request.source.name}_{target.name}_{form.precision}")
    several = len(request.targets) * len(request.precisions) > 1
    return request.output / f"{target.name}_{form.precision}" if several else request.output
