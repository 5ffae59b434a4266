"""From a model to checked bundles: read, calibrate, convert, run on this machine, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xedge.bundle.manifest import HostAccuracy, HostConfusion, Manifest, Speed
from xedge.bundle.reading import GoldenData
from xedge.bundle.writing import check_destination, file_name, write_bundle
from xedge.conversion.calibrated import Calibrated
from xedge.conversion.describe import manifest_of
from xedge.conversion.ladder import Ladder
from xedge.conversion.making import making_of
from xedge.conversion.options import ConvertOptions
from xedge.conversion.reference import GraphReference
from xedge.conversion.request import Request, forms, resolved
from xedge.conversion.stages import Stages
from xedge.conversion.subject import read_subject
from xedge.converters import Form, Target, find_target
from xedge.device.board import usable_cores
from xedge.errors import CheckError, XedgeError
from xedge.measuring.latency import in_turns
from xedge.memory import caller_set_aside, check_address_space, give_memory_back, return_large_blocks
from xedge.metrics import confusion
from xedge.quantization.gate import least_photos
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier, open_classifier
from xedge.types import FloatArray
from xedge.vocabulary import CALIBRATED

# A loss of more points than this, or a smaller share of equal answers, is told.
LOST_POINTS, LOW_AGREEMENT = 5.0, 0.9


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One bundle that was made.

    Args:
        path: Where it is.
        manifest: What it says of itself.
        artifact_bytes: The size of the artifact, weights included.
    """

    path: Path
    manifest: Manifest
    artifact_bytes: int


@dataclass(frozen=True, kw_only=True)
class BundleDocument:
    """A bundle that was made or wrapped, in a document.

    Args:
        schema: The kind of this document and its version.
        path: The path of the bundle: its folder or its zip.
        artifact_bytes: The size of the artifact in bytes, weights included.
        manifest: What the bundle says of itself.
    """

    schema: Literal["xedge.bundle/1"] = "xedge.bundle/1"
    path: str
    artifact_bytes: int
    manifest: Manifest


def bundle_document(made: Converted) -> BundleDocument:
    """Return what a document says of a bundle that was made."""
    return BundleDocument(path=str(made.path), artifact_bytes=made.artifact_bytes, manifest=made.manifest)


def convert(options: ConvertOptions) -> list[Converted]:
    """Make the bundles that options ask for.

    Raises:
        XedgeError: With a line for the user.
    """
    with ExitStack() as stack:
        request = resolved(options, stack)
        request.check()
        wanted = [(find_target(name), form) for name in request.targets for form in forms(options, find_target(name))]
        for target, form in wanted:
            check_destination(_destination(request, target, form), zipped=options.zipped)
            if options.failed is None:
                target.check(form)
        check_address_space()
        return_large_blocks()
        stack.enter_context(caller_set_aside())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        stages = Stages(report=options.report, progress=options.progress)
        calibrated = Calibrated(read_subject(request, scratch, stages), stages)
        if options.pixels:
            pixels = calibrated.subject.pixels()
            wanted = [(target, replace(form, pixels=pixels)) for target, form in wanted]
        _note_idle_calibration(calibrated, wanted)
        _note_few_photos(calibrated, wanted)
        ladder, made = Ladder(calibrated), []
        for target, form in wanted:
            try:
                target.check(form)
                made.append(_make(calibrated, target, form, ladder, last=(target, form) == wanted[-1]))
            except XedgeError as error:
                if options.failed is None:
                    raise
                options.failed(target.name, form.precision, error)
        return made


def _note_idle_calibration(calibrated: Calibrated, wanted: Sequence[tuple[Target, Form]]) -> None:
    """Tell it if calibration photos are given and nothing is calibrated; scripts give them for every precision."""
    given = calibrated.subject.request.options.calibration is not None
    if given and not any(form.precision in CALIBRATED for _, form in wanted):
        calibrated.stages.note(f"calibration photos have no effect: only {' and '.join(CALIBRATED)} need them")


def _note_few_photos(calibrated: Calibrated, wanted: Sequence[tuple[Target, Form]]) -> None:
    """Tell it before the work if there are too few photos to show that a budget is met, or if they flatter."""
    request, note = calibrated.subject.request, calibrated.stages.note
    if not request.budget.demands or not any(form.precision == "int8" for _, form in wanted):
        return
    photos, needed = len(calibrated.selection.files), least_photos(request.budget)
    if needed is None:
        note("no number of photos shows that none is ever lost: at best, the verdict is that there are too few photos")
    elif photos < needed:
        note(
            f"even if int8 changes none of {photos} selection photos, so few cannot show that this budget is met: at "
            f"least {needed} are needed"
        )
    if request.options.selection is None:
        note(
            f"the budget is judged on {photos} photos of the calibration folder; if the model was trained on them, "
            "they flatter int8, so give others as selection photos"
        )


def _make(calibrated: Calibrated, target: Target, form: Form, ladder: Ladder, *, last: bool) -> Converted:
    """Convert to one target and form, run it here, write the bundle; after the last one no statistics are kept."""
    subject, stages = calibrated.subject, calibrated.stages
    making = making_of(subject.request.options, form)
    if form.half:
        calibrated.check_half()
    elif form.precision == "fp16" and target.marks_half and isinstance(subject.reference, GraphReference):
        form = replace(form, half=calibrated.fits_half)
    stem = f"{file_name(subject.request.source.name)}_{form.precision}"
    if subject.photos is not None:
        _ = calibrated.reference_rows, calibrated.own_size
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        gate = None
        logits = subject.request.options.logits
        made = subject.reference.artifact(target, form, Path(scratch) / stem, calibrated, stages, logits=logits)
        if form.precision == "int8" and subject.request.budget.demands:
            made, gate = ladder.within_budget(target, made, Path(scratch) / "rungs")
        made = replace(made, coverage=calibrated.coverage(target, made))
        form, files = made.form, made.files
        manifest = replace(manifest_of(calibrated, target, made), gate=gate, making=making)
        changes = {name: (c.scale, c.shift) for name, c in made.plan.changes.items()} if made.plan is not None else {}
        sibling = None
        if subject.photos is not None:
            sibling = subject.reference.float_sibling(target, form, Path(scratch) / "float" / stem)
        del made
        if last:
            calibrated.forget()
        give_memory_back()
        settings = Settings(threads=usable_cores(), exact=True, few=subject.photos is None)
        classifier = open_classifier(files[0], manifest, settings)
        expected = np.stack([classifier.classify(pixels) for pixels in subject.golden_pixels])
        _check_answers(stages, target, form, expected, subject.golden_reference)
        manifest, answered = _scored(calibrated, manifest, classifier)
        if sibling is not None:
            manifest = replace(manifest, speed=_speed(calibrated, target, form, classifier, files[0], sibling))
        del classifier
        give_memory_back()
        with stages.stage("write") as words:
            golden = GoldenData(pixels=subject.golden_pixels, reference=subject.golden_reference, expected=expected)
            size = sum(file.stat().st_size for file in files)
            path = write_bundle(
                _destination(subject.request, target, form),
                manifest,
                subject.labels,
                {file.name: file for file in files},
                golden,
                changes,
                answered,
                zipped=subject.request.options.zipped,
            )
            words.append(str(path))
    return Converted(path=path, manifest=manifest, artifact_bytes=size)


def _check_answers(stages: Stages, target: Target, form: Form, got: FloatArray, expected: FloatArray) -> None:
    """Refuse an artifact that does not answer the photos of the self-test with numbers, or in fp32 not as the model.

    Where weights are rounded to half precision, answers that are further away than they should be are told.

    Args:
        stages: Told of such answers.
        target: The target.
        form: The form of the artifact.
        got: (N, classes) the artifact's probabilities.
        expected: (N, classes) the reference's probabilities.

    Raises:
        CheckError: The artifact is broken.
    """
    if not np.isfinite(got).all():
        raise CheckError(
            f"{target.name} {form.precision}: the artifact answers photos with values that are no numbers; a weight is "
            "too large for this precision, so try another one"
        )
    distance, allowed = float(np.abs(got - expected).max()), target.tolerance(form.precision, half=form.half)
    if distance <= allowed:
        return
    words = f"{target.name} {form.precision}: a probability is {distance:.2g} from that of the model in float"
    if form.precision == "fp32":
        raise CheckError(f"{words}, and {allowed:g} is allowed; please report this model")
    if form.precision == "fp16":
        stages.note(f"{words}; the model is unusually sensitive to rounding, so measure it with labelled photos")


def _speed(
    calibrated: Calibrated, target: Target, form: Form, classifier: Classifier, artifact: Path, sibling: Path
) -> Speed:
    """Time an artifact and its float sibling in turns on this machine."""
    subject = calibrated.subject
    with calibrated.stages.stage("time") as words:
        settings = Settings(threads=usable_cores())
        session = choose_runtime(sibling).open(sibling, settings)
        timed = classifier.session
        if target.kept(form)[1] is None:
            # The classifier computes in float32, and the sibling in the float type that the runtime prefers.
            timed = choose_runtime(artifact).open(artifact, settings)
        photo = subject.preprocessing.scaled(subject.golden_pixels[:1])
        fed = np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if target.layout == "NCHW" else photo
        tensor = classifier.input(subject.golden_pixels[0])
        pair = in_turns(lambda: timed.run(tensor), lambda: session.run(fed), time.perf_counter_ns)
        words.append(f"{pair.first_ms:.2f} ms; in float {pair.second_ms:.2f} ms")
    return Speed(ms=pair.first_ms, float_ms=pair.second_ms, ratio=pair.ratio, threads=usable_cores())


def _scored(
    calibrated: Calibrated, manifest: Manifest, classifier: Classifier
) -> tuple[Manifest, HostConfusion | None]:
    """Return the manifest with what the artifact scores on the labelled photos, and what it answered class by class."""
    subject, stages = calibrated.subject, calibrated.stages
    photos = subject.photos
    if photos is None:
        return manifest, None
    truth = subject.truth(photos)
    with stages.stage("evaluate") as words:
        rows = []
        for done, file in enumerate(photos.files, start=1):
            rows.append(classifier.classify(subject.preprocessing.pixels(file)))
            stages.progress(f"evaluate {done}/{len(photos.files)} photos")
        got, reference = np.stack(rows), calibrated.reference_rows
        scored = HostAccuracy.of(got, reference, truth, data=photos.name, sha256=photos.digest())
        answered = HostConfusion(
            artifact=confusion(got.argmax(1), truth, subject.labels),
            reference=confusion(reference.argmax(1), truth, subject.labels),
        )
        words.append(f"{manifest.precision} on {len(rows)} photos")
    _note_loss(calibrated, manifest, scored)
    manifest = replace(manifest, accuracy=scored)
    if subject.request.options.scored is not None:
        subject.request.options.scored(manifest, got, reference, truth)
    return manifest, answered


def _note_loss(calibrated: Calibrated, manifest: Manifest, scored: HostAccuracy) -> None:
    """Tell it if an artifact answers much less like the model than its precision should."""
    if scored.drop_points is None or scored.agreement is None:
        return
    drop, same = scored.drop_points, scored.agreement.agreement
    if drop > LOST_POINTS or same < LOW_AGREEMENT:
        calibrated.stages.note(
            f"{manifest.target} {manifest.precision} answers {100 * same:.1f} % of the photos as float does, and its "
            f"top-1 is {drop:.1f} points lower; calibrate with photos like these, see with xedge analyze which layers "
            "lose it, or set a budget of agreement, which tries steps that are closer to float"
        )


def _destination(request: Request, target: Target, form: Form) -> Path:
    output = request.options.output
    if output is None:
        return Path(f"{file_name(request.source.name)}_{bundle_name(target.name, form)}")
    several = sum(len(forms(request.options, find_target(name))) for name in request.targets) > 1
    return Path(output) / bundle_name(target.name, form) if several else Path(output)


def bundle_name(target: str, form: Form) -> str:
    """Return the name of the folder of one of several bundles; the default ranges are not named."""
    return f"{target}_{form.precision}" + ("_fixed" if form.ranges == "fixed" else "")
