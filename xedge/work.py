"""One request's work: the model as it was read, its photos, what calibration saw, and artifacts made of these."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xedge import __version__
from xedge.data import CalibrationSet, PhotoSet, read_calibration, read_folder
from xedge.describe import (
    calibration_info,
    graph_recipe,
    input_spec,
    library_recipe,
    model_info,
    output_spec,
    versions,
)
from xedge.errors import InputError, UnsupportedError
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph
from xedge.manifest import SCHEMA_VERSION, Golden, Manifest, Recipe
from xedge.memory import give_memory_back
from xedge.models.compact import embedded
from xedge.preprocess import Preprocessing, scheme
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.coverage import Coverage, coverage
from xedge.quantization.gate import Budget
from xedge.quantization.plan import Plan
from xedge.quantization.statistics import Statistics
from xedge.reference import Reference, Wanted, read_reference
from xedge.sources import Source, guess_scheme
from xedge.target import Form, Pixels, Target, find_library
from xedge.types import FloatArray, IntArray, UInt8Array
from xedge.vocabulary import Batch, Crop, IoType, Precision

GOLDEN_PHOTOS = 4
# So many of the labelled photos show whether the calibrated ranges fit them.
COVERAGE_PHOTOS = 16
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
        pixels: put the preprocessing of pixels into the artifact.
        logits: leave the softmax out of the artifact; the runner takes it.
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
    pixels: bool = False
    logits: bool = False
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Artifact:
    """An artifact's files, what they were written from, and how."""

    form: Form
    files: list[Path]
    graph: Graph | None
    plan: Plan | None
    how: Recipe
    coverage: Coverage | None = None


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
        self._evaluated: Statistics | None = None
        self._plans: dict[tuple[IoType, bool, bool, bool], tuple[Graph, Plan]] = {}
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

    def selection(self) -> PhotoSet:
        """Photos that are neither calibrated on nor reported."""
        if self._selection is None:
            self._selection = selection_photos(self.request, self.calibration(), self.photos)
        return self._selection

    def reference_rows(self, photos: PhotoSet) -> FloatArray:
        """The reference's probabilities (N, classes) of the labelled photos."""
        if self._reference_rows is None:
            with self.stages.stage("reference") as words:
                self._reference_rows = self.reference.predict(self.preprocessed(photos, "reference"))
                words.append(f"float outputs of {len(photos.files)} photos")
        return self._reference_rows

    def pixels(self) -> Pixels:
        """The last step of preprocessing, for artifacts that take uint8."""
        return Pixels(scale=self.preprocessing.scale, offset=self.preprocessing.offset)

    def coverage(self, made: Artifact) -> Coverage | None:
        """How an int8 artifact's ranges fit the photos that accuracy is told of."""
        if self.photos is None or made.plan is None or made.graph is None or self.reference.graph is None:
            return None
        if self._evaluated is None:
            few = self.photos.sample(COVERAGE_PHOTOS, self.request.seed)
            rows = [self.preprocessing.photo(file) for file in few.files]
            self._evaluated = calibrate(self.reference.graph, rows, products=False)
        found = coverage(made.graph, made.plan, self.statistics(self.reference.graph), self._evaluated)
        if found is not None and not found.fits:
            self.stages.report(
                f"NOTE       the calibration photos do not fit {self.photos.root}: {100 * found.evaluated:.2f} % of "
                f"its values lie beyond the ranges, {100 * found.calibrated:.2f} % in calibration (most in "
                f"{found.worst}); calibrate on photos like those that the model will see"
            )
        return found

    def preprocessed(self, photos: PhotoSet, what: str) -> Iterator[FloatArray]:
        """Yield preprocessed photos (H, W, C), telling how many are done."""
        for done, file in enumerate(photos.files):
            self.progress(f"{what} {done}/{len(photos.files)} photos")
            yield self.preprocessing.photo(file)

    def selection_truth(self, photos: PhotoSet) -> IntArray | None:
        """Each photo's class (N,), by the labels or else the order of the folders; None where neither fits."""
        if self.labels_known and photos.labelled:
            return self.truth(photos)
        if len(photos.classes) == self.reference.classes:
            return np.array(photos.truth, np.int64)
        if self.request.budget.max_drop_points is None:
            return None
        raise InputError(
            f"{photos.root}: {len(photos.classes)} class folders for a model of {self.reference.classes} classes; "
            "--max-drop needs them all, or --labels FILE with their order"
        )

    def truth(self, photos: PhotoSet) -> IntArray:
        """Each photo's class (N,) by the labels."""
        unknown = sorted(set(photos.classes) - set(self.labels))
        if unknown:
            raise InputError(f"{photos.root}: the class folder {unknown[0]!r} is none of the model's labels")
        return np.array([self.labels.index(photos.classes[i]) for i in photos.truth], np.int64)

    def forget_graph(self) -> None:
        """Let go of what only converting needs."""
        self.reference = self.reference.without_graph()
        self._plans.clear()
        self._statistics = self._evaluated = None

    # Artifacts

    def artifact(self, target: Target, form: Form, path: Path, in_float: Sequence[str] = ()) -> Artifact:
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
        if form.io != "float32" or self.request.logits:
            graph = without_softmax(graph)
        plan = None
        if form.precision == "int8":
            graph, plan = self._quantized(graph, target, form, tuple(in_float))
        with self.stages.stage("convert") as words:
            files = written(path, target.convert(graph, form, plan))
            words.append(f"{target.title} {form.precision}, {sum(f.stat().st_size for f in files) / 1e6:.2f} MB")
        return Artifact(form=form, files=files, graph=graph, plan=plan, how=graph_recipe(target, form, plan))

    def _quantized(self, graph: Graph, target: Target, form: Form, in_float: tuple[str, ...]) -> tuple[Graph, Plan]:
        """Return an equal graph that quantizes well, and its plan; targets share what the recipe gives."""
        kind = (form.io, target.dynamic_branches, target.symmetric, target.pairs)
        if kind in self._plans and not in_float:
            return self._plans[kind]
        seen = self.statistics(self.reference.graph or graph)
        with self.stages.stage("quantize") as words:
            words.append(f"{recipe.ACTIVATIONS}; {recipe.WEIGHTS}")
            pixel, integer = self.preprocessing.pixel, form.io != "float32"
            made = recipe.int8(
                graph,
                seen,
                pixel=pixel,
                all_integer=integer,
                in_float=in_float,
                dynamic=target.dynamic_branches,
                symmetric=target.symmetric,
                fit_pairs=target.pairs,
            )
        if not in_float:
            self._plans[kind] = made
        return made

    def _by_library(self, target: Target, form: Form, path: Path) -> Artifact:
        folder, library, reason = self.reference.library_folder, find_library(target.name), self.reference.reason
        assert folder is not None
        for option, asked in (
            (f"--io {form.io}", form.io != "float32"),
            (f"--batch {form.batch}", form.batch != 1),
            ("--pixels", form.pixels is not None),
            ("--logits", self.request.logits),
        ):
            if asked:
                raise UnsupportedError(f"{self.request.source}: {option} needs the reference graph ({reason})")
        with self.stages.stage("convert") as words:
            files = written(path, library.convert(folder, form, self._calibration_inputs))
            words.append(f"{library.WAY}, {form.precision}")
        return Artifact(form=form, files=files, graph=None, plan=None, how=library_recipe(library, form, reason))

    def _calibration_inputs(self) -> Iterator[FloatArray]:
        return iter(self.calibration().inputs(self.preprocessing))

    def manifest(self, target: Target, made: Artifact) -> Manifest:
        """What a bundle will say of an artifact, but for what is measured of it."""
        form, plan, reference = made.form, made.plan, self.reference
        ends = plan if form.io != "float32" else None
        output_kind: Literal["probabilities", "logits"]
        bare = ends is not None or (self.request.logits and reference.graph is not None)
        output_kind = "probabilities" if reference.probabilities and not bare else "logits"
        preprocessing = self.preprocessing
        if ends is not None and ends.input_shift:
            # The integers are the pixels themselves, or pixel - 128; the artifact's biases know the offset.
            assert preprocessing.pixel is not None
            preprocessing = replace(preprocessing, offset=(0.0,))
        if form.pixels is not None:
            preprocessing = replace(preprocessing, scale=(1.0,), offset=(0.0,))
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
            calibration=calibration_info(calibration, made.coverage),
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


def written(path: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write an artifact's files at a path without suffix."""
    files = [path.with_name(path.name + suffix) for suffix in contents]
    for file, data in zip(files, contents.values(), strict=True):
        file.write_bytes(data)
    return files
