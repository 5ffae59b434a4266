"""From a model to checked bundles: read, calibrate, convert, run on this machine, write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from xedge import __version__
from xedge.bench.latency import in_turns
from xedge.bundle import GoldenData, write_bundle
from xedge.data import CalibrationSet, PhotoSet, read_calibration, read_folder
from xedge.describe import (
    calibration_info,
    gate_info,
    graph_recipe,
    input_spec,
    library_recipe,
    model_info,
    output_spec,
    versions,
)
from xedge.device.board import usable_cores
from xedge.errors import InputError, UnsupportedError, UsageError
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph
from xedge.manifest import (
    SCHEMA_VERSION,
    Gate,
    Golden,
    HostAccuracy,
    Manifest,
    Recipe,
    Speed,
)
from xedge.memory import give_memory_back, return_large_blocks
from xedge.metrics import accuracy, agreement
from xedge.models.compact import embedded
from xedge.preprocess import Preprocessing, scheme
from xedge.quantization import recipe
from xedge.quantization.gate import Budget, Try, climb, judge
from xedge.quantization.plan import Plan
from xedge.quantization.sensitivity import Layer, NoiseMeter, layers, worst_first
from xedge.quantization.statistics import Statistics
from xedge.reference import Reference, Wanted, read_reference
from xedge.runtimes import Settings, choose_runtime
from xedge.runtimes.classifier import Classifier
from xedge.sources import Source, guess_scheme
from xedge.target import Form, Target, find_library, find_target
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import Batch, Crop, IoType, Precision

GOLDEN_PHOTOS = 4
# The ladder behind the recipe as it is: so many of the worst layers in float, then these precisions.
FLOAT_LAYERS = (1, 2, 4, 8)
LARGER: tuple[Precision, ...] = ("dynamic", "fp16")
NOISE_PHOTOS = 8
# How far a probability may be from the host's on another machine: kernels differ in rounding.
GOLDEN_TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.02, "dynamic": 0.1, "int8": 0.1}
NO_BUDGET = Budget()
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
        budget: what int8 may cost; without demands the recipe is taken as it is.
        selection: photos that the budget is judged on; None takes calibration photos that were not chosen.
        selection_count: how many of them.
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
    budget: Budget = NO_BUDGET
    selection: Path | None = None
    selection_count: int = 300


@dataclass(frozen=True, kw_only=True)
class Converted:
    """One bundle that was made, and where."""

    path: Path
    manifest: Manifest
    artifact_bytes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Artifact:
    """An artifact's files, what they were written from, and how."""

    form: Form
    files: list[Path]
    graph: Graph | None
    plan: Plan | None
    how: Recipe


@dataclass(kw_only=True)
class Stages:
    """Tells each stage as it ends, with its seconds."""

    report: Report
    clock: Callable[[], float] = time.perf_counter
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Time what is done within; words added to the list stand behind the seconds."""
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
    if request.budget.demands and "int8" not in request.precisions:
        raise UsageError("--max-drop and --min-agreement are budgets of int8; add --precision int8")
    stages = Stages(report=report)
    return_large_blocks()
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        work = Work(request, Path(scratch), stages, progress)
        wanted = [(target, form) for target in targets for form in forms]
        return [work.make(*pair, last=pair is wanted[-1]) for pair in wanted]


def _check_inputs(request: Request) -> None:
    """Fail on what can be seen wrong before the model is read."""
    for folder in (request.data, request.calibration, request.selection):
        if folder is not None and not folder.exists():
            raise InputError(f"{folder}: no such folder of photos")
    if request.labels is not None and not request.labels.is_file():
        raise InputError(f"{request.labels}: no such file of labels")
    if request.calibration_count < 1:
        raise InputError(f"--calibration-count {request.calibration_count}: at least one photo is needed")


class Work:
    """What the bundles of one request share: preprocessing, photos, reference outputs, statistics."""

    def __init__(self, request: Request, scratch: Path, stages: Stages, progress: Report) -> None:
        self.request, self.stages, self.progress = request, stages, progress
        self.reference = self._read(scratch)
        self.preprocessing = self._preprocessing()
        self.photos = self._labelled_photos()
        self.labels, self.labels_known = self._labels()
        self._calibration: CalibrationSet | None = None
        self._statistics: Statistics | None = None
        self._selection: PhotoSet | None = None
        self._plans: dict[IoType, tuple[Graph, Plan]] = {}
        self._order: list[Layer] | None = None
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
            gate = None
            made = self._artifact(target, form, Path(scratch) / stem)
            if form.precision == "int8" and self.request.budget.demands:
                made, gate = self._gated(target, made, Path(scratch) / "rungs")
            files, plan = made.files, made.plan
            manifest = replace(self._manifest(target, made), gate=gate)
            form = made.form
            sibling = self._float_sibling(target, form, Path(scratch) / "float" / stem)
            if last:
                self.reference = self.reference.without_graph()
                self._plans.clear()
            give_memory_back()
            settings = Settings(threads=usable_cores(), exact=True, few=self.photos is None)
            session = choose_runtime(target.name).open(files[0], settings)
            classifier = Classifier(session, manifest)
            expected = np.stack([classifier.classify(pixels) for pixels in self.golden_pixels])
            manifest = self._scored(manifest, classifier)
            if sibling is not None:
                manifest = replace(manifest, speed=self._speed(target, classifier, sibling))
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

    def _gated(self, target: Target, first: _Artifact, scratch: Path) -> tuple[_Artifact, Gate]:
        """Climb from the recipe as it is to what keeps the budget."""
        budget, photos = self.request.budget, self.selection()
        reference = self.reference.predict(self._photos(photos, "selection reference"))
        truth = self._selection_truth(photos)

        def scored(made: _Artifact) -> tuple[_Artifact, FloatArray]:
            settings = Settings(threads=usable_cores(), exact=True)
            session = choose_runtime(target.name).open(made.files[0], settings)
            classifier = Classifier(session, self._manifest(target, made))
            rows = [classifier.classify(self.preprocessing.pixels(file)) for file in photos.files]
            return made, np.stack(rows)

        def attempt(form: Form, folder: str, nodes: Sequence[str] = ()) -> tuple[_Artifact, FloatArray]:
            path = scratch / folder / f"{self.request.source.name}_{form.precision}"
            return scored(self._artifact(target, form, path, nodes))

        def rungs() -> Iterator[tuple[str, Callable[[], tuple[_Artifact, FloatArray]]]]:
            yield "int8", partial(scored, first)
            if first.plan is None or first.form.io != "float32":
                return
            order = self._worst_layers(first, photos)
            for count in (count for count in FLOAT_LAYERS if count <= len(order)):
                nodes = [name for layer in order[:count] for name in layer.nodes]
                yield f"int8, {count} worst in float", partial(attempt, first.form, str(count), nodes)
            for precision in LARGER:
                yield precision, partial(attempt, replace(first.form, precision=precision), precision)

        def told(one: Try) -> None:
            lost = f", drop {one.outcome.drop.points:+.2f} points" if one.outcome.drop is not None else ""
            words = f"{one.rung}: agreement {100 * one.outcome.agreement.agreement:.2f} %{lost}: {one.outcome.verdict}"
            self.stages.report(f"{'rung':<10} {one.seconds:6.1f} s  {words}")

        got = climb(rungs(), lambda rows: judge(budget, rows, reference, truth), budget.time_s, self.stages.clock, told)
        return got.made, gate_info(got, budget, photos)

    def _worst_layers(self, made: _Artifact, photos: PhotoSet) -> list[Layer]:
        """The layers that make the most noise for their size, by a few of the selection photos."""
        if self._order is not None:
            return self._order
        assert made.plan is not None
        assert made.graph is not None
        few = photos.sample(NOISE_PHOTOS, self.request.seed)
        inputs = np.stack([self.preprocessing.photo(file) for file in few.files])
        with self.stages.stage("analyze") as words:
            meter = NoiseMeter(made.graph, made.plan, inputs, probabilities=self.reference.probabilities)
            candidates = layers(made.graph, made.plan)
            self._order = worst_first(
                meter, candidates, lambda done: self.progress(f"analyze {done}/{len(candidates)} layers")
            )
            words.append(
                f"noise of {len(candidates)} layers; the worst: {', '.join(one.name for one in self._order[:3])}"
            )
        return self._order

    def selection(self) -> PhotoSet:
        """Photos that are neither calibrated on nor reported."""
        if self._selection is None:
            self._selection = selection_photos(self.request, self.calibration(), self.photos)
        return self._selection

    def _artifact(self, target: Target, form: Form, path: Path, in_float: Sequence[str] = ()) -> _Artifact:
        """Write the artifact's files at a path without suffix; the one that a runtime opens comes first.

        Args:
            target: writes them.
            form: their precision and ends.
            path: its folder is made.
            in_float: nodes that an int8 artifact leaves in float beside those that it always does.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        graph = self.reference.graph
        if graph is None:
            return self._by_library(target, form, path)
        if form.io != "float32":
            graph = without_softmax(graph)
        plan = None
        if form.precision == "int8":
            graph, plan = self._quantized(graph, form, tuple(in_float))
        with self.stages.stage("convert") as words:
            files = _written(path, target.convert(graph, form, plan))
            words.append(f"{target.title} {form.precision}, {sum(f.stat().st_size for f in files) / 1e6:.2f} MB")
        return _Artifact(form=form, files=files, graph=graph, plan=plan, how=graph_recipe(target, form, plan))

    def _quantized(self, graph: Graph, form: Form, in_float: tuple[str, ...]) -> tuple[Graph, Plan]:
        """Return an equal graph that quantizes well, and its plan; the targets share what the recipe gives."""
        if form.io in self._plans and not in_float:
            return self._plans[form.io]
        seen = self.statistics(self.reference.graph or graph)
        with self.stages.stage("quantize") as words:
            words.append(f"{recipe.ACTIVATIONS}; {recipe.WEIGHTS}")
            pixel, integer = self.preprocessing.pixel, form.io != "float32"
            made = recipe.int8(graph, seen, pixel=pixel, all_integer=integer, in_float=in_float)
        if not in_float:
            self._plans[form.io] = made
        return made

    def _by_library(self, target: Target, form: Form, path: Path) -> _Artifact:
        folder, library, reason = self.reference.library_folder, find_library(target.name), self.reference.reason
        assert folder is not None
        for option, asked in ((f"--io {form.io}", form.io != "float32"), (f"--batch {form.batch}", form.batch != 1)):
            if asked:
                raise UnsupportedError(f"{self.request.source}: {option} needs the reference graph ({reason})")
        with self.stages.stage("convert") as words:
            files = _written(path, library.convert(folder, form, self._calibration_inputs))
            words.append(f"{library.WAY}, {form.precision}")
        return _Artifact(form=form, files=files, graph=None, plan=None, how=library_recipe(library, form, reason))

    def _calibration_inputs(self) -> Iterator[FloatArray]:
        return iter(self.calibration().inputs(self.preprocessing))

    def _manifest(self, target: Target, made: _Artifact) -> Manifest:
        form, plan, reference = made.form, made.plan, self.reference
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
            artifact=made.files[0].name,
            model=model_info(self.request.source, reference),
            input=input_spec(reference, target, form, ends),
            output=output_spec(reference, form, ends),
            output_kind=output_kind,
            preprocessing=preprocessing,
            labels_known=self.labels_known,
            recipe=made.how,
            calibration=calibration_info(calibration),
            tools=versions(),
            accuracy=None,
            gate=None,
            speed=None,
            golden=Golden(
                photos=tuple(f"golden/{i}.png" for i in range(GOLDEN_PHOTOS)),
                tolerance=max(GOLDEN_TOLERANCE[form.precision], target.freedom if form.precision != "fp32" else 0),
            ),
            files={},
        )

    def _float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Write the same model in fp32, for what is quantized and measured here, photo by photo."""
        graph = self.reference.graph
        quantized = form.precision in ("int8", "dynamic")
        if self.photos is None or graph is None or not quantized or form.batch != 1:
            return None
        path.parent.mkdir(parents=True)
        return _written(path, target.convert(graph, replace(form, precision="fp32", io="float32")))[0]

    def _speed(self, target: Target, classifier: Classifier, sibling: Path) -> Speed:
        """Time an artifact and its float sibling in turns on this machine."""
        with self.stages.stage("time") as words:
            settings = Settings(threads=usable_cores())
            session = choose_runtime(target.name).open(sibling, settings)
            photo = self.preprocessing.scaled(self.golden_pixels[:1])
            fed = np.ascontiguousarray(photo.transpose(0, 3, 1, 2)) if target.layout == "NCHW" else photo
            tensor = classifier.input(self.golden_pixels[0])
            pair = in_turns(lambda: classifier.session.run(tensor), lambda: session.run(fed), time.perf_counter_ns)
            words.append(f"{pair.first_ms:.2f} ms; in float {pair.second_ms:.2f} ms")
        return Speed(ms=pair.first_ms, float_ms=pair.second_ms, ratio=pair.ratio, threads=usable_cores())

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

    def _selection_truth(self, photos: PhotoSet) -> IntArray | None:
        """Each photo's class (N,), by the labels or else the order of the folders; None where neither fits."""
        if self.labels_known and photos.labelled:
            return self._truth(photos)
        if len(photos.classes) == self.reference.classes:
            return np.array(photos.truth, np.int64)
        if self.request.budget.max_drop_points is None:
            return None
        raise InputError(
            f"{photos.root}: {len(photos.classes)} class folders for a model of {self.reference.classes} classes; "
            "--max-drop needs them all, or --labels FILE with their order"
        )

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


def selection_photos(request: Request, calibration: CalibrationSet, reported: PhotoSet | None) -> PhotoSet:
    """Return the photos that a budget is judged on, chosen by the seed.

    Raises:
        InputError: there are none that are neither calibrated on nor reported.
    """
    folder = request.selection or request.calibration
    if folder is None or not folder.is_dir():
        raise InputError(
            "photos are needed that are not calibrated on: give --selection DIR, or --calibration DIR with more of them"
        )
    found = read_folder(folder)
    taken = {file.resolve() for file in calibration.photos if isinstance(file, Path)}
    taken |= {file.resolve() for file in reported.files} if reported is not None else set()
    chosen = found.only([index for index, file in enumerate(found.files) if file.resolve() not in taken])
    if not chosen.files:
        raise InputError(f"{folder}: every photo is calibrated on or reported; give others with --selection DIR")
    if request.budget.max_drop_points is not None and not chosen.labelled:
        raise InputError(f"{folder}: --max-drop needs labelled photos in class folders; give --selection DIR")
    return chosen.sample(request.selection_count, request.seed)


def _written(path: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write an artifact's files at a path without suffix."""
    files = [path.with_name(path.name + suffix) for suffix in contents]
    for file, data in zip(files, contents.values(), strict=True):
        file.write_bytes(data)
    return files
