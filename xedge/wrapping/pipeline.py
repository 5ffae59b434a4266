"""From an artifact of others to a bundle: copy, try, read, run, measure, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xedge._version import __version__
from xedge.bundle.manifest import (
    SCHEMA_VERSION,
    WRAPPED,
    Golden,
    HostAccuracy,
    HostConfusion,
    Manifest,
    ModelInfo,
    Recipe,
    Speed,
)
from xedge.bundle.opening import opened
from xedge.bundle.reading import Bundle, GoldenData
from xedge.bundle.writing import check_destination, file_name, write_bundle
from xedge.conversion.options import WrapOptions
from xedge.conversion.pipeline import Converted
from xedge.conversion.stages import Stages
from xedge.conversion.subject import GOLDEN_PHOTOS, golden_photos, labelled_photos, note_photos, note_shared_names
from xedge.converters import Target, targets
from xedge.device.board import usable_cores
from xedge.errors import BundleError, InputError, UnsupportedError, UsageError, parameter
from xedge.measuring.latency import in_turns
from xedge.metrics import confusion
from xedge.photos.preprocess import Preprocessing
from xedge.photos.reading import check_named
from xedge.photos.sets import PhotoSet
from xedge.photos.truth import truth_of
from xedge.runtimes import Runtime, Settings, choose_runtime
from xedge.runtimes.audit import Audit, audit
from xedge.runtimes.classifier import Classifier, open_bundle_classifier, open_classifier
from xedge.runtimes.trial import tried
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import OutputKind, Precision
from xedge.wrapping.ends import Ends, find_ends
from xedge.wrapping.files import Copied, copied, unreadable
from xedge.wrapping.unsaid import find_kind, find_labels, find_preprocessing

# A smaller share of answers like those of the reference is told. So is a top-1 that is hardly above that of guessing,
# in multiples of it, on at least so many photos.
LOW_AGREEMENT, GUESSING, ENOUGH_PHOTOS = 0.9, 1.5, 30


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wrapped:
    """An artifact with all that was found out and decided about it."""

    copy: Copied
    runtime: Runtime
    target: Target
    ends: Ends
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    labels_known: bool
    photos: PhotoSet | None
    reference: Bundle | None
    stages: Stages

    @property
    def settings(self) -> Settings:
        return Settings(threads=usable_cores(), exact=True)

    def truth(self, photos: PhotoSet) -> IntArray:
        return truth_of(photos, self.labels if self.labels_known else None, self.ends.classes)


def wrap(options: WrapOptions) -> Converted:
    """Make a bundle of an artifact of others.

    Raises:
        XedgeError: With a line for the user.
    """
    artifact = Path(options.artifact)
    runtime, target, destination = _checked(artifact, options)
    stages = Stages(report=options.report, progress=options.progress)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        reference = stack.enter_context(opened(Path(options.reference))) if options.reference is not None else None
        if reference is not None:
            _check_float(reference)
        wrapped = _read(artifact, runtime, target, options, reference, scratch, stages)
        manifest, classifier = _described(artifact, wrapped, options)
        other = None
        if reference is not None:
            other, _ = open_bundle_classifier(reference, wrapped.settings)
        golden, accurate, answered = _measured(wrapped, classifier, other)
        manifest = replace(manifest, accuracy=accurate, speed=_speed(wrapped, classifier, other, golden.pixels))
        with stages.stage("write") as words:
            path = write_bundle(
                destination,
                manifest,
                wrapped.labels,
                wrapped.copy.files,
                golden,
                confusion=answered,
                zipped=options.zipped,
            )
            words.append(str(path))
        size = sum(file.stat().st_size for file in wrapped.copy.files.values())
    return Converted(path=path, manifest=manifest, artifact_bytes=size)


def _checked(artifact: Path, options: WrapOptions) -> tuple[Runtime, Target, Path]:
    """Refuse what can be seen wrong before anything is read; return the runtime, the target and the destination."""
    if not artifact.is_file():
        what = "is not a plain file" if artifact.exists() else "there is no such file"
        raise InputError(f"{artifact}: {what}; give a .tflite, an .onnx, or an .xml of OpenVINO")
    if options.labels is not None and not Path(options.labels).is_file():
        raise InputError(f"{options.labels}: there is no such file of labels")
    if options.data is not None:
        check_named(options.data)
    elif options.truth is not None:
        raise UsageError(f"{parameter('truth')} is about the photos of {parameter('data')}; give them too")
    runtime = choose_runtime(artifact)
    runtime.load()
    target = next((one for one in targets() if one.suffix == artifact.suffix), None)
    if target is None:
        known = ", ".join(dict.fromkeys(one.suffix for one in targets()))
        raise UnsupportedError(f"{artifact}: no target has files {artifact.suffix}; there are targets for {known}")
    destination = Path(options.output) if options.output is not None else Path(f"{file_name(artifact.stem)}_wrapped")
    _check_no_input(destination, artifact, options)
    check_destination(destination, zipped=options.zipped)
    return runtime, target, destination


def _check_no_input(destination: Path, artifact: Path, options: WrapOptions) -> None:
    """Refuse a destination that is an input, or holds one: the new bundle would take its place."""
    place = destination.with_name(f"{destination.name}.zip") if options.zipped else destination
    for given in (artifact, options.labels, options.data, options.reference):
        if given is not None and Path(given).resolve().is_relative_to(place.resolve()):
            raise InputError(f"{place}: {given} is an input and would be lost; choose another {parameter('output')}")


def _check_float(reference: Bundle) -> None:
    precision = reference.manifest.precision
    if precision not in ("fp32", "fp16"):
        raise InputError(
            f"{parameter('reference')} {reference.source}: is {precision}, and what is lost is measured against float; "
            "give a bundle in fp32"
        )


def _read(
    artifact: Path,
    runtime: Runtime,
    target: Target,
    options: WrapOptions,
    reference: Bundle | None,
    scratch: Path,
    stages: Stages,
) -> _Wrapped:
    photos = labelled_photos(options.data, options.truth) if options.data is not None else None
    with stages.stage("read") as words:
        copy = copied(artifact, runtime, scratch)
        ends = _tried(artifact, copy, runtime, options)
        size = sum(file.stat().st_size for file in copy.files.values())
        words.append(f"{artifact.name}, {size / 1e6:.2f} MB, by {runtime.package}")
    if reference is not None and reference.manifest.model.classes != ends.classes:
        raise InputError(
            f"{parameter('reference')} {reference.source}: has {reference.manifest.model.classes} classes, but "
            f"{artifact} has {ends.classes}"
        )
    preprocessing = find_preprocessing(artifact, ends, options, reference, stages)
    labels, known = find_labels(artifact, ends, options, reference, photos)
    note_shared_names(labels if known else (), stages)
    if photos is not None:
        note_photos(photos, preprocessing, stages)
        truth_of(photos, labels if known else None, ends.classes)
    if reference is not None:
        _check_comparable(artifact, reference, preprocessing, labels if known else None)
    return _Wrapped(
        copy=copy,
        runtime=runtime,
        target=target,
        ends=ends,
        preprocessing=preprocessing,
        labels=labels,
        labels_known=known,
        photos=photos,
        reference=reference,
        stages=stages,
    )


def _tried(artifact: Path, copy: Copied, runtime: Runtime, options: WrapOptions) -> Ends:
    """Find what an artifact takes and gives, first in a process of its own, which a damaged one may crash."""
    settings = Settings(threads=usable_cores(), exact=True, few=True)

    def found() -> Ends:
        return find_ends(artifact, copy.artifact, runtime, settings, options)

    try:
        tried(artifact, f"wrap {copy.digest}", runtime, settings, found)
        return found()
    except BundleError as error:
        raise unreadable(error, artifact, copy.artifact) from error


def _check_comparable(
    artifact: Path, reference: Bundle, preprocessing: Preprocessing, labels: tuple[str, ...] | None
) -> None:
    """Refuse a reference with other labels, or that prepares photos otherwise than by their scaling."""
    theirs, named = reference.manifest, f"{parameter('reference')} {reference.source}"
    if labels is not None and theirs.labels_known and labels != reference.labels:
        index = next(i for i, pair in enumerate(zip(labels, reference.labels, strict=True)) if pair[0] != pair[1])
        raise InputError(
            f"{named}: its class {index} is {reference.labels[index]!r}, but that of {artifact} is {labels[index]!r}; "
            "the labels have to be the same, in the same order"
        )
    ours, other = (replace(one, scale=(1.0,), offset=(0.0,)) for one in (preprocessing, theirs.preprocessing))
    if ours != other:
        raise InputError(
            f"{named}: prepares photos as {other.colour}, {other.fitting}, but {artifact} as {ours.colour}, "
            f"{ours.fitting}; what is lost would not be that of the artifact alone"
        )


def _described(artifact: Path, wrapped: _Wrapped, options: WrapOptions) -> tuple[Manifest, Classifier]:
    """Return the manifest without what is measured, and the artifact on its runtime."""
    ends, stages = wrapped.ends, wrapped.stages
    precision, words = _precision(ends.contents.weights)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        xedge_version=__version__,
        target=wrapped.target.name,
        precision=precision,
        artifact=wrapped.copy.artifact.name,
        model=_model_info(artifact, wrapped),
        input=ends.input,
        output=ends.output,
        output_kind="logit" if ends.output.photo_values == 1 else "logits",  # until its values are seen
        preprocessing=wrapped.preprocessing,
        labels_known=wrapped.labels_known,
        recipe=Recipe(way=WRAPPED, reason=artifact.name, weights=words),
        calibration=None,
        tools={"xedge": __version__},
        accuracy=None,
        gate=None,
        speed=None,
        golden=Golden(
            photos=tuple(f"golden/{i}.png" for i in range(GOLDEN_PHOTOS)), tolerance=wrapped.target.tolerance(precision)
        ),
        files={},
    )
    classifier = open_classifier(wrapped.copy.artifact, manifest, wrapped.settings, wrapped.runtime)
    executed = audit(classifier.session)
    stages.tell("precision", f"{precision}: {words}; {_executed(executed)}")
    kind = find_kind(artifact, ends.output, _sample(wrapped, classifier), precision, options.output_kind)
    stages.tell("output", f"{ends.output.photo_values} values, {kind}{_second(kind, wrapped.labels)}")
    manifest = replace(manifest, output_kind=kind)
    return manifest, Classifier(classifier.session, manifest)


def _second(kind: OutputKind, labels: tuple[str, ...]) -> str:
    return f" of the second class, {labels[1]}" if kind in ("probability", "logit") else ""


def _precision(weights: Mapping[Precision, int]) -> tuple[Precision, str]:
    """Return the precision in which most of the weights of products compute, and the shares in words."""
    total = sum(weights.values())
    if not total:
        return "fp32", "no convolution or matrix product with weights was found"
    ordered = sorted(weights, key=lambda one: -weights[one])
    shares = ", ".join(f"{100 * weights[one] / total:.1f} % {one}" for one in ordered)
    return ordered[0], f"{shares} of the weights of convolutions and products"


def _executed(found: Audit) -> str:
    name = found.execution.runtime
    if found.integer_share is None:
        return f"{name} does not tell what it computes in integers"
    return f"{name} computes {100 * found.integer_share:.1f} % of them in integers"


def _model_info(artifact: Path, wrapped: _Wrapped) -> ModelInfo:
    """Return the model of the reference, which the user says it is; otherwise the artifact stands for itself."""
    if wrapped.reference is not None:
        return wrapped.reference.manifest.model
    return ModelInfo(
        name=artifact.stem,
        source=artifact.name,
        weights_sha256=wrapped.copy.digest,
        parameters=sum(wrapped.ends.contents.weights.values()),
        classes=wrapped.ends.classes,
        file_sha256=None,
    )


def _sample(wrapped: _Wrapped, classifier: Classifier) -> FloatArray:
    """Return the outputs (N, width) for photos of the self-test and for noise."""
    pixels = golden_photos(wrapped.preprocessing, wrapped.photos)
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    return np.stack([classifier.values(classifier.session.run(classifier.input(one))) for one in (*pixels, *noise)])


def _measured(
    wrapped: _Wrapped, classifier: Classifier, reference: Classifier | None
) -> tuple[GoldenData, HostAccuracy | None, HostConfusion | None]:
    """Run the artifact, and the reference where there is one, on the photos of the self-test and on labelled photos."""
    pixels = golden_photos(wrapped.preprocessing, wrapped.photos)
    golden = GoldenData(
        pixels=pixels,
        reference=None if reference is None else np.stack([reference.classify(one) for one in pixels]),
        expected=np.stack([classifier.classify(one) for one in pixels]),
    )
    if wrapped.photos is None:
        return golden, None, None
    truth = wrapped.truth(wrapped.photos)
    with wrapped.stages.stage("evaluate") as words:
        got = _rows(classifier, wrapped.photos, wrapped.stages)
        theirs = None if reference is None else _rows(reference, wrapped.photos, wrapped.stages)
        words.append(f"on {len(truth)} photos")
    scored = HostAccuracy.of(got, theirs, truth, data=wrapped.photos.name, sha256=wrapped.photos.digest())
    answered = HostConfusion(
        artifact=confusion(got.argmax(1), truth, wrapped.labels),
        reference=None if theirs is None else confusion(theirs.argmax(1), truth, wrapped.labels),
    )
    _note_doubts(wrapped, scored)
    return golden, scored, answered


def _rows(classifier: Classifier, photos: PhotoSet, stages: Stages) -> FloatArray:
    rows = []
    for done, file in enumerate(photos.files, start=1):
        rows.append(classifier.classify(classifier.manifest.preprocessing.pixels(file)))
        stages.progress(f"evaluate {done}/{len(photos.files)} photos")
    return np.stack(rows)


def _note_doubts(wrapped: _Wrapped, scored: HostAccuracy) -> None:
    """Tell it if what the user said of the artifact may be wrong, for nothing else shows it."""
    ours, classes = scored.artifact, wrapped.ends.classes
    if ours.photos >= ENOUGH_PHOTOS and ours.top1 < GUESSING / classes:
        wrapped.stages.note(
            f"its top-1 of {100 * ours.top1:.1f} % is hardly that of guessing among {classes} classes; make sure of "
            f"the preprocessing and of the order of the labels"
        )
    elif scored.agreement is not None and scored.agreement.agreement < LOW_AGREEMENT:
        wrapped.stages.note(
            f"it answers {100 * scored.agreement.agreement:.1f} % of the photos as the reference does; if that is less "
            "than its precision explains, make sure that it is the same model, and of the preprocessing"
        )


def _speed(wrapped: _Wrapped, classifier: Classifier, reference: Classifier | None, pixels: UInt8Array) -> Speed | None:
    """Time the artifact and a reference in fp32 in turns on this machine."""
    if reference is None or reference.manifest.precision != "fp32" or wrapped.photos is None:
        return None
    ours, theirs = classifier.input(pixels[0]), reference.input(pixels[0])
    if len(ours) != len(theirs):
        return None  # other batches
    with wrapped.stages.stage("time") as words:
        pair = in_turns(
            lambda: classifier.session.run(ours), lambda: reference.session.run(theirs), time.perf_counter_ns
        )
        words.append(f"{pair.first_ms:.2f} ms; the reference {pair.second_ms:.2f} ms")
    return Speed(ms=pair.first_ms, float_ms=pair.second_ms, ratio=pair.ratio, threads=usable_cores())
