"""From a model to checked bundles: read, calibrate, convert, run on this machine, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xedge import __version__
from xedge.bundle import GoldenData, write_bundle
from xedge.data import CalibrationSet, PhotoSet, read_calibration, read_folder
from xedge.describe import calibration_info, graph_recipe, input_spec, library_recipe, model_info, output_spec, versions
from xedge.device.board import usable_cores
from xedge.errors import InputError, UnsupportedError
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph
from xedge.manifest import (
    SCHEMA_VERSION,
    Golden,
    HostAccuracy,
    Manifest,
    Recipe,
)
from xedge.memory import give_memory_back, return_large_blocks
from xedge.metrics import accuracy, agreement
from xedge.models.compact import embedded
from xedge.preprocess import Preprocessing, scheme
from xedge.quantization import recipe
from xedge.quantization.plan import Plan
from xedge.quantization.statistics import Statistics
from xedge.reference import Reference, Wanted, read_reference
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier
from xedge.sources import Source, guess_scheme
from xedge.target import Form, Target, find_library, find_target
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import Batch, Crop, IoType, Precision

GOLDEN_PHOTOS = 4
# How far a probability may be from the host's on another machine: kernels differ in rounding.
GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.02, "dynamic": 0.1, "int8": 0.1}
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks ``convert`` for.

    Args:
        source: the model.
        targets, precisions: each pair becomes a bundle.
        output: where; None names it after the model, in the current folder.
        io: type of the ends of int8 artifacts.
        batch: photos that an artifact takes at once.
        calibration: folder or array; None takes the embedded photos.
        calibration_count, seed: how many photos, and what chooses them.
        data: labelled photos to score on; None scores the embedded model on its own.
        labels: class names, one a line; None takes the class folders' names where they fit.
        preprocess: name of a scheme; None guesses and says so.
        crop: how photos are fitted.
        zipped: one zip for each bundle.
        allow_code: let the model file bring code of its own.
    """

    source: Source
    targets: tuple[str, ...]
    precisions: tuple[Precision, ...]
    output: Path | None = None
    io: IoType = "float32"
    batch: Batch = 1
    calibration: Path | None = None
    calibration_count: int = 100
    seed: int = 0
    data: Path | None = None
    labels: Path | None = None
    preprocess: str | None = None
    crop: Crop = "none"
    zipped: bool = False
    allow_code: bool = False


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One bundle that was made, and where."""

    path: Path
    manifest: Manifest
    artifact_bytes: int


@dataclass(kw_only=True)
class _Stages:
    """Tells each stage as it ends, with its seconds."""

    report: Report
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        words: list[str] = []
        start = self.clock()
        yield words
        self.seconds[name] = self.clock() - start
        self.report(f"{name:<10} {self.seconds[name]:6.1f} s  {' '.join(words)}".rstrip())


def convert(
    request: Request, report: Report = lambda line: None, progress: Report = lambda line: None
) -> list[Converted]:
    """Make the bundles.

    Args:
        request: what is wanted.
        report: told one line as each stage ends.
        progress: told how far a long stage is.

    Raises:
        XedgeError: with a line for the user.
    """
    _check_inputs(request)
    targets = [find_target(name) for name in request.targets]
    forms = [
        Form(precision=p, io=request.io if p == "int8" else "float32", batch=request.batch) for p in request.precisions
    ]
    for target in targets:
        for form in forms:
            target.check(form)
    stages = _Stages(report=report)
    return_large_blocks()
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        work = _Work(request, Path(scratch), stages, progress)
        wanted = [(target, form) for target in targets for form in forms]
        return [work.make(*pair, last=pair is wanted[-1]) for pair in wanted]


def _check_inputs(request: Request) -> None:
    """Fail on what can be seen wrong before the model is read."""
    for folder in (request.data, request.calibration):
        if folder is not None and not folder.exists():
            raise InputError(f"{folder}: no such folder of photos")
    if request.labels is not None and not request.labels.is_file():
        raise InputError(f"{request.labels}: no such file of labels")
    if request.calibration_count < 1:
        raise InputError(f"--calibration-count {request.calibration_count}: at least one photo is needed")


class _Work:
    """What the bundles of one request share: preprocessing, photos, reference outputs, statistics."""

    def __init__(self, request: Request, scratch: Path, stages: _Stages, progress: Report) -> None:
        self.request, self.stages, self.progress = request, stages, progress
        self.reference = self._read(scratch)
        self.preprocessing = self._preprocessing()
        self.photos = self._labelled_photos()
        self.labels, self.labels_known = self._labels()
        self._calibration: CalibrationSet | None = None
        self._statistics: Statistics | None = None
        self._plans: dict[IoType, tuple[Graph, Plan]] = {}
        self._reference_rows: FloatArray | None = None
        self.golden_pixels = self._golden_pixels()
        self.golden_reference = self._checked_reference()

    def _read(self, scratch: Path) -> Reference:
        request = self.request
        with self.stages.stage("read") as words:
            wanted = Wanted(precisions=request.precisions, saved_model=request.targets != ("tflite",))
            reference = read_reference(request.source, scratch, wanted, allow_code=request.allow_code)
            words.append(f"{request.source}: {reference.parameters / 1e6:.2f} M parameters, ")
            words.append("reference graph" if reference.graph else f"libraries' converters ({reference.reason})")
        return reference

    # What the request leaves open

    def _preprocessing(self) -> Preprocessing:
        height, width, channels = self.reference.input_shape
        if channels not in (1, 3):
            raise UnsupportedError(f"{self.request.source}: takes {channels} channels; photos have 1 or 3")
        name, reason = guess_scheme(self.request.source, self.reference.name, self.reference.kinds)
        if self.request.preprocess is not None:
            name, reason = self.request.preprocess, "as asked"
        chosen = scheme(name, height, width, channels, self.request.crop)
        self.stages.report(f"{'input':<10}           {height}x{width}x{channels}, preprocessing {name}: {reason}")
        return chosen

    def _labelled_photos(self) -> PhotoSet | None:
        if self.request.data is not None:
            photos = read_folder(self.request.data)
            if not photos.labelled:
                raise InputError(f"{self.request.data}: no class folders, so there is no accuracy to tell; omit --data")
            return photos
        return embedded.test_photos() if self.request.source.embedded else None

    def _labels(self) -> tuple[tuple[str, ...], bool]:
        classes = self.reference.classes
        if self.request.labels is not None:
            labels = tuple(line.strip() for line in self.request.labels.read_text("utf-8").splitlines() if line.strip())
            if len(labels) != classes:
                raise InputError(f"{self.request.labels}: {len(labels)} labels for a model of {classes} classes")
            return labels, True
        if self.request.source.embedded:
            return embedded.labels(), True
        if self.photos is not None:
            if len(self.photos.classes) != classes:
                raise InputError(
                    f"{self.photos.root}: {len(self.photos.classes)} class folders for a model of {classes} classes; "
                    "give photos of all its classes, or --labels FILE with their order"
                )
            return self.photos.classes, True
        return tuple(f"class_{index:0{len(str(classes - 1))}d}" for index in range(classes)), False

    def _golden_pixels(self) -> UInt8Array:
        files = list(self.photos.files) if self.photos is not None else list(embedded.test_photos().files)
        chosen = [files[len(files) * i // GOLDEN_PHOTOS] for i in range(GOLDEN_PHOTOS)]
        return np.stack([self.preprocessing.pixels(file) for file in chosen])

    def _checked_reference(self) -> FloatArray:
        """The reference's probabilities of the golden photos, after it was held against Keras on them."""
        photos = self.preprocessing.scaled(self.golden_pixels)
        give_memory_back()
        with self.stages.stage("check") as words:
            probabilities, difference = self.reference.checked_predict(photos)
            if difference is not None:
                words.append(f"the graph is within {difference:.1g} of Keras on {len(photos)} photos")
        return probabilities

    # What is made once, when the first precision needs it

    def calibration(self) -> CalibrationSet:
        """The photos that fix int8 ranges."""
        if self._calibration is None:
            request = self.request
            if request.calibration is not None:
                shape = self.reference.input_shape
                self._calibration = read_calibration(
                    request.calibration, request.calibration_count, request.seed, shape
                )
            else:
                self._calibration = embedded.calibration_photos()
                if not request.source.embedded:
                    self.stages.report(
                        "NOTE       no --calibration given: ranges come from the embedded clothing photos; "
                        "photos like yours would fit better"
                    )
        return self._calibration

    def statistics(self, graph: Graph) -> Statistics:
        """What calibration saw of every tensor."""
        if self._statistics is None:
            photos = self.calibration()
            with self.stages.stage("calibrate") as words:
                self._statistics = recipe.statistics(
                    graph,
                    photos.inputs(self.preprocessing),
                    lambda done: self.progress(f"calibrate {done}/{len(photos)} photos"),
                )
                words.append(f"{len(photos)} photos from {photos.source}")
        return self._statistics

    def reference_rows(self, photos: PhotoSet) -> FloatArray:
        """The reference's probabilities (N, classes) of the labelled photos."""
        if self._reference_rows is None:
            with self.stages.stage("reference") as words:
                self._reference_rows = self.reference.predict(self._photos(photos, "reference"))
                words.append(f"float outputs of {len(photos.files)} photos")
        return self._reference_rows

    def _photos(self, photos: PhotoSet, what: str) -> Iterator[FloatArray]:
        """Yield preprocessed photos (H, W, C), telling how many are done."""
        for done, file in enumerate(photos.files):
            self.progress(f"{what} {done}/{len(photos.files)} photos")
            yield self.preprocessing.photo(file)

    # One bundle

    def make(self, target: Target, form: Form, *, last: bool) -> Converted:
        """Convert to one target and form, run it here, write the bundle; after the last one no graph is kept."""
        stem = f"{self.request.source.name}_{form.precision}"
        if self.photos is not None:
            self.reference_rows(self.photos)
        with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
            files, plan, how = self._artifact(target, form, Path(scratch) / stem)
            manifest = self._manifest(target, form, files[0].name, plan, how)
            if last:
                self.reference = self.reference.without_graph()
                self._plans.clear()
            give_memory_back()
            settings = Settings(threads=usable_cores(), exact=True, few=self.photos is None)
            session = choose_runtime(target.name).open(files[0], settings)
            classifier = Classifier(session, manifest)
            expected = np.stack([classifier.classify(pixels) for pixels in self.golden_pixels])
            manifest = self._scored(manifest, classifier)
            del session, classifier
            give_memory_back()
            with self.stages.stage("write") as words:
                golden = GoldenData(pixels=self.golden_pixels, reference=self.golden_reference, expected=expected)
                named = {file.name: file for file in files}
                size = sum(file.stat().st_size for file in files)
                destination = self._destination(target, form)
                changes = {name: (c.scale, c.shift) for name, c in plan.changes.items()} if plan is not None else {}
                zipped = self.request.zipped
                path = write_bundle(destination, manifest, self.labels, named, golden, changes, zipped=zipped)
                words.append(str(path))
        return Converted(path=path, manifest=manifest, artifact_bytes=size)

    def _artifact(self, target: Target, form: Form, path: Path) -> tuple[list[Path], Plan | None, Recipe]:
        """Write the artifact's files at a path without suffix; the one that a runtime opens comes first."""
        graph = self.reference.graph
        if graph is None:
            return self._by_library(target, form, path)
        if form.io != "float32":
            graph = without_softmax(graph)
        plan = None
        if form.precision == "int8":
            graph, plan = self._quantized(graph, form)
        with self.stages.stage("convert") as words:
            files = _written(path, target.convert(graph, form, plan))
            words.append(f"{target.title} {form.precision}, {sum(f.stat().st_size for f in files) / 1e6:.2f} MB")
        return files, plan, graph_recipe(target, form, plan)

    def _quantized(self, graph: Graph, form: Form) -> tuple[Graph, Plan]:
        """Return an equal graph that quantizes well, and its plan; the targets share them."""
        if form.io not in self._plans:
            seen = self.statistics(self.reference.graph or graph)
            integer = form.io != "float32"
            with self.stages.stage("quantize") as words:
                words.append(f"{recipe.ACTIVATIONS}; {recipe.WEIGHTS}")
                self._plans[form.io] = recipe.int8(graph, seen, pixel=self.preprocessing.pixel, all_integer=integer)
        return self._plans[form.io]

    def _by_library(self, target: Target, form: Form, path: Path) -> tuple[list[Path], None, Recipe]:
        folder, library, reason = self.reference.library_folder, find_library(target.name), self.reference.reason
        assert folder is not None
        for option, asked in ((f"--io {form.io}", form.io != "float32"), (f"--batch {form.batch}", form.batch != 1)):
            if asked:
                raise UnsupportedError(f"{self.request.source}: {option} needs the reference graph ({reason})")
        with self.stages.stage("convert") as words:
            files = _written(path, library.convert(folder, form, self._calibration_inputs))
            words.append(f"{library.WAY}, {form.precision}")
        return files, None, library_recipe(library, form, reason)

    def _calibration_inputs(self) -> Iterator[FloatArray]:
        return iter(self.calibration().inputs(self.preprocessing))

    def _manifest(self, target: Target, form: Form, artifact: str, plan: Plan | None, how: Recipe) -> Manifest:
        reference = self.reference
        ends = plan if form.io != "float32" else None
        output_kind: Literal["probabilities", "logits"]
        output_kind = "probabilities" if reference.probabilities and ends is None else "logits"
        preprocessing = self.preprocessing
        if ends is not None and ends.input_shift:
            # The integers are the pixels themselves, or pixel - 128; the artifact's biases know the offset.
            assert preprocessing.pixel is not None
            preprocessing = replace(preprocessing, offset=(0.0,))
        calibration = self._calibration if form.precision == "int8" else None
        return Manifest(
            schema_version=SCHEMA_VERSION,
            xedge_version=__version__,
            target=target.name,
            precision=form.precision,
            artifact=artifact,
            model=model_info(self.request.source, reference),
            input=input_spec(reference, target, form, ends),
            output=output_spec(reference, form, ends),
            output_kind=output_kind,
            preprocessing=preprocessing,
            labels_known=self.labels_known,
            recipe=how,
            calibration=calibration_info(calibration),
            tools=versions(),
            accuracy=None,
            golden=Golden(
                photos=tuple(f"golden/{i}.png" for i in range(GOLDEN_PHOTOS)),
                tolerance=max(GOLDEN_TOLERANCE[form.precision], target.freedom if form.precision != "fp32" else 0),
            ),
            files={},
        )

    def _scored(self, manifest: Manifest, classifier: Classifier) -> Manifest:
        """The manifest with what the artifact scores on the labelled photos."""
        if self.photos is None:
            return manifest
        reference = self.reference_rows(self.photos)
        truth = self._truth(self.photos)
        with self.stages.stage("evaluate") as words:
            rows = []
            for done, file in enumerate(self.photos.files, start=1):
                rows.append(classifier.classify(self.preprocessing.pixels(file)))
                self.progress(f"evaluate {done}/{len(self.photos.files)} photos")
            got = np.stack(rows)
            scored = HostAccuracy(
                data=self.photos.root.name,
                sha256=self.photos.digest(),
                artifact=accuracy(got, truth, self.labels),
                reference=accuracy(reference, truth, self.labels),
                agreement=agreement(got, reference),
            )
            words.append(f"{manifest.precision} on {len(rows)} photos")
        return replace(manifest, accuracy=scored)

    def _truth(self, photos: PhotoSet) -> IntArray:
        unknown = sorted(set(photos.classes) - set(self.labels))
        if unknown:
            raise InputError(f"{photos.root}: the class folder {unknown[0]!r} is none of the model's labels")
        return np.array([self.labels.index(photos.classes[i]) for i in photos.truth], np.int64)

    def _destination(self, target: Target, form: Form) -> Path:
        request = self.request
        if request.output is None:
            return Path(f"{request.source.name}_{target.name}_{form.precision}")
        several = len(request.targets) * len(request.precisions) > 1
        return request.output / f"{target.name}_{form.precision}" if several else request.output


def _written(path: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write an artifact's files at a path without suffix."""
    files = [path.with_name(path.name + suffix) for suffix in contents]
    for file, data in zip(files, contents.values(), strict=True):
        file.write_bytes(data)
    return files
