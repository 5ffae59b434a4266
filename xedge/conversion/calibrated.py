"""What is learnt of a request's photos when it is first needed: statistics, reference outputs, plans."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from xedge.bundle.manifest import OwnSize
from xedge.conversion.artifact import Artifact
from xedge.conversion.reference import GraphReference, constants_of, graph_of, read_reference
from xedge.conversion.stages import Stages
from xedge.conversion.subject import Subject
from xedge.converters import Form, Target
from xedge.errors import InputError, UnsupportedError, parameter
from xedge.graph.fold import is_last_softmax, without_head
from xedge.graph.ir import Graph
from xedge.memory import give_memory_back
from xedge.metrics import agreement, drop, wilson
from xedge.models.compact import embedded
from xedge.photos.calibration import ARRAYS, is_noise, read_calibration
from xedge.photos.reading import read_photos
from xedge.photos.sets import CalibrationSet, PhotoSet
from xedge.photos.stored import Photo, StoredPhoto
from xedge.quantization import recipe
from xedge.quantization.calibration import calibrate
from xedge.quantization.coverage import Coverage, coverage, fixed_tensors
from xedge.quantization.gate import selection_photos
from xedge.quantization.plan import Plan
from xedge.quantization.rules import Rules
from xedge.quantization.statistics import Statistics
from xedge.types import FloatArray, IntArray
from xedge.vocabulary import BARE, IoType

# So many of the labelled photos show whether the calibrated ranges fit them.
COVERAGE_PHOTOS = 16
# Calibration photos show one class alone if the model takes this share of them for it, of so many photos at least, and
# has so many classes that this is no imbalance of the task.
ONE_CLASS, LEAST_PHOTOS, LEAST_CLASSES = 0.9, 10, 3
# So many of the calibration photos are looked at before all are used.
LOOKED_AT = 16
# An eighth of what half precision can hold.
LARGEST_HALF = 8192.0


# An array of inputs may leave the range of preprocessed pixels by this share of it, and should cover this share.
BEYOND, NARROW = 0.02, 0.6


class Calibrated:
    """A subject with its photos.

    Args:
        subject: The model and what was decided of it.
        stages: Told what is done.
    """

    def __init__(self, subject: Subject, stages: Stages) -> None:
        self.subject, self.stages = subject, stages
        self._plans: dict[tuple[IoType, Rules, bool], tuple[Graph, Plan]] = {}
        self._small_weights: dict[int | None, Plan] = {}
        self._coverages: list[tuple[Plan, Coverage]] = []

    @cached_property
    def photos(self) -> CalibrationSet:
        """The photos that fix int8 ranges, and by which w4 rounds weights."""
        options, source = self.subject.request.options, self.subject.request.source
        if options.calibration is not None:
            shape = self.subject.reference.input_shape
            photos = read_calibration(Path(options.calibration), options.calibration_count, options.seed, shape)
            self._check_values(photos)
            self._check_content(photos)
            return photos
        if not source.embedded:
            self.stages.note(
                "no calibration photos were given: the embedded clothing photos take their place; photos like yours "
                "would fit better"
            )
        return embedded.calibration_photos(options.calibration_count, options.seed)

    def _check_values(self, photos: CalibrationSet) -> None:
        """Hold an array of inputs against what preprocessing makes of pixels.

        Raises:
            InputError: No photo could have these values.
        """
        values = photos.photos
        if not isinstance(values, np.ndarray) or values.dtype == np.uint8:
            return
        least, most = self.subject.preprocessing.bounds()
        low, high = float(values.min()), float(values.max())
        reach = most - least
        words = f"{photos.source}: has values from {low:.4g} to {high:.4g}, where photos have {least:.4g} to {most:.4g}"
        if low < least - BEYOND * reach or high > most + BEYOND * reach:
            raise InputError(
                f"{words} after preprocessing; give uint8 pixels, or inputs that were scaled as for the model "
                f"({parameter('preprocess')})"
            )
        if high - low < NARROW * reach:
            self.stages.note(
                f"{words}; if the array was scaled otherwise than the model's photos, int8 clips them and loses "
                "accuracy"
            )

    def _check_content(self, photos: CalibrationSet) -> None:
        """Look at a few photos, before all are calibrated.

        Raises:
            InputError: They are generated noise, whose ranges fit no photo.
        """
        places = np.unique(np.linspace(0, len(photos) - 1, LOOKED_AT).astype(int))
        few = replace(photos, photos=[photos.photos[place] for place in places])
        if is_noise(few.inputs(self.subject.preprocessing)):
            raise InputError(
                f"{photos.source}: is generated noise, because neighbouring pixels are not alike; int8 ranges from it "
                f"fit no photo, so give photos as the device will see them ({parameter('calibration')}), or none to "
                "calibrate with the embedded ones"
            )

    @cached_property
    def statistics(self) -> Statistics:
        """What calibration saw of every tensor of the reference graph."""
        graph, photos = graph_of(self.subject.reference, "calibration"), self.photos
        with self.stages.stage("calibrate") as words:
            seen = recipe.statistics(
                graph,
                photos.inputs(self.subject.preprocessing),
                lambda done: self.stages.progress(f"calibrate {done}/{len(photos)} photos"),
            )
            words.append(f"{len(photos)} photos from {photos.source}")
        self._check_classes(graph, seen)
        return seen

    def _check_classes(self, graph: Graph, seen: Statistics) -> None:
        """Tell if the model takes nearly all calibration photos for one class: ranges of one class clip the others."""
        output = graph[graph.output]
        leads = seen[output.inputs[0] if is_last_softmax(graph, output) else output.name].leads
        answers, photos = int(leads.max()), int(leads.sum())
        # The output of some networks still has height and width, so that its channels are not all of its values.
        are_classes = LEAST_CLASSES <= len(leads) == self.subject.reference.classes
        if are_classes and photos >= LEAST_PHOTOS and answers >= ONE_CLASS * photos:
            self.stages.note(
                f"the model takes {answers} of the {photos} calibration photos for the class "
                f"{self.subject.labels[leads.argmax()]}; int8 keeps less of its accuracy for the other classes: "
                "calibrate on photos of every class"
            )

    @cached_property
    def _largest(self) -> float:
        """The largest absolute value in the model: of its constants, and of what it computes of golden photos."""
        values = [array for node in graph_of(self.subject.reference, "half precision") for array in constants_of(node)]
        largest = _largest_of(values)
        for photo in self.subject.preprocessing.scaled(self.subject.golden_pixels[:2]):
            largest = max(largest, _largest_of(self.subject.reference.tensors(photo[None]).values()))
        give_memory_back()
        return largest

    @property
    def _near_the_end(self) -> str:
        return f"values in the model reach {self._largest:.3g}, too near the end of half precision (65504)"

    @cached_property
    def fits_half(self) -> bool:
        """Whether the model's values stay far from the end of half precision; it is told if they do not.

        The sums of a convolution may be larger on the way than in the end.
        """
        if self._largest > LARGEST_HALF:
            self.stages.note(f"{self._near_the_end}; fp16 artifacts compute in fp32")
        return self._largest <= LARGEST_HALF

    def check_half(self) -> None:
        """Refuse to compute in half precision what does not fit into it, or what xedge does not write itself.

        Raises:
            UnsupportedError: The model's values come near the end of half precision, or a library converts it.
        """
        asked = f"{parameter('arithmetic')} float16"
        if not isinstance(self.subject.reference, GraphReference):
            raise UnsupportedError(
                f"{asked}: this model is converted by a library, whose fp16 computes in fp32; leave {asked} out"
            )
        if self._largest > LARGEST_HALF:
            raise UnsupportedError(f"{self._near_the_end}; leave {asked} out, with which fp16 computes in fp32")

    @cached_property
    def selection(self) -> PhotoSet:
        """The photos that a budget is judged on: neither calibrated on nor reported.

        Raises:
            InputError: There are no such photos, or they lack the labels that the budget needs.
        """
        request = self.subject.request
        options = request.options
        folder = options.selection or options.calibration
        if folder is None or Path(folder).suffix in ARRAYS:
            raise InputError(
                f"photos are needed that are not calibrated on: give {parameter('selection')}, a folder of them, or a "
                f"{parameter('calibration')} folder with more photos"
            )
        found, reported = read_photos(folder), self.subject.photos
        taken: set[Photo] = {file.resolve() for file in self.photos.photos if isinstance(file, Path | StoredPhoto)}
        taken |= {file.resolve() for file in reported.files} if reported is not None else set()
        chosen = found.only([index for index, file in enumerate(found.files) if file.resolve() not in taken])
        if not chosen.files:
            raise InputError(
                f"{folder}: every photo is calibrated on or reported; give others with {parameter('selection')}"
            )
        if options.max_drop_points is not None and not chosen.labelled:
            raise InputError(
                f"{folder}: {parameter('max_drop_points')} needs labelled photos in class folders; give "
                f"{parameter('selection')}"
            )
        return chosen.sample(options.selection_count or selection_photos(request.budget), options.seed)

    @cached_property
    def reference_rows(self) -> FloatArray:
        """The reference's probabilities (N, classes) of the labelled photos."""
        photos = self.subject.photos
        assert photos is not None, "asked for without labelled photos"
        with self.stages.stage("reference") as words:
            rows = self.subject.reference.predict(self.subject.preprocessed(photos, "reference", self.stages))
            words.append(f"float outputs of {len(photos.files)} photos")
        self._note_chance(rows, photos)
        return rows

    def _note_chance(self, rows: FloatArray, photos: PhotoSet) -> None:
        """Tell it if the model itself scores what guessing would."""
        truth, classes = self.subject.truth(photos), rows.shape[1]
        right = int((rows.argmax(1) == truth).sum())
        if wilson(right, len(truth))[1] < min(2 / classes, (1 + 1 / classes) / 2):
            self.stages.note(
                f"the model in float has {100 * right / len(truth):.1f} % of {len(truth)} photos right, where guessing "
                f"has {100 / classes:.1f} %: in training, photos were probably scaled by another preprocessing, or the "
                "classes had another order"
            )

    @cached_property
    def _few(self) -> list[FloatArray]:
        """A few of the labelled photos, preprocessed (H, W, C) each."""
        assert self.subject.photos is not None, "asked for without labelled photos"
        few = self.subject.photos.sample(COVERAGE_PHOTOS, self.subject.request.options.seed)
        return [self.subject.preprocessing.photo(file) for file in few.files]

    @cached_property
    def _evaluated(self) -> Statistics:
        """What these photos show of every tensor."""
        return calibrate(graph_of(self.subject.reference, "coverage"), self._few, products=False)

    @cached_property
    def own_size(self) -> OwnSize | None:
        """What another size of photos than the model's own costs; None if it was not asked for another one."""
        subject, request = self.subject, self.subject.request
        own, (height, width, _) = subject.reference.own_size, subject.reference.input_shape
        if own is None:
            return None
        # A file of preprocessing is for one size and does not say how photos are fitted to another one.
        if subject.photos is None or request.data_config is not None:
            return OwnSize(height=own[0], width=own[1])
        crop = "none" if request.options.crop == "scale" else request.options.crop
        prepared = replace(subject.preprocessing, height=own[0], width=own[1], crop=crop, resized=None)
        with self.stages.stage("own size") as words, tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
            whole = read_reference(
                replace(request.source, size=None), Path(scratch), allow_code=request.options.allow_code
            )
            rows = whole.predict(prepared.photo(file) for file in subject.photos.files)
            truth, here = subject.truth(subject.photos), self.reference_rows
            found = OwnSize(
                height=own[0],
                width=own[1],
                top1=float((rows.argmax(1) == truth).mean()),
                drop=drop(here, rows, truth),
                agreement=agreement(here, rows),
            )
            assert found.top1 is not None
            assert found.drop is not None
            assert found.agreement is not None
            low, high = found.drop.interval95
            words.append(
                f"float at {height}x{width} has {found.drop.points:.2f} points [{low:.2f}, {high:.2f}] less top-1 than "
                f"{100 * found.top1:.2f} % at {own[0]}x{own[1]}, agreement {100 * found.agreement.agreement:.1f} %"
            )
        give_memory_back()
        return found

    def selection_truth(self) -> IntArray | None:
        """Return each selection photo's class (N,); None where the folders are not the classes and nobody asks."""
        subject, photos = self.subject, self.selection
        if subject.labels_known and photos.labelled:
            return subject.truth(photos)
        others = not photos.numbered and len(photos.classes) != subject.reference.classes
        if others and subject.request.budget.max_drop_points is None:
            return None
        return subject.truth(photos)

    def inputs(self) -> Iterator[FloatArray]:
        """Yield the calibration photos as the model's input (H, W, C) float32."""
        return self.photos.inputs(self.subject.preprocessing)

    def quantized(self, graph: Graph, target: Target, form: Form, in_float: tuple[str, ...]) -> tuple[Graph, Plan]:
        """Return an equal graph that quantizes well, and its plan; targets with the same rules share them."""
        fixed = form.ranges == "fixed"
        kind = (form.io, target.rules, fixed)
        if kind in self._plans and not in_float:
            return self._plans[kind]
        seen = self.statistics
        with self.stages.stage("quantize") as words:
            words.append(f"{', '.join(recipe.activation_words())}; {', '.join(recipe.weight_words())}")
            made = recipe.int8(
                graph,
                seen,
                rules=target.rules,
                pixel=self.subject.preprocessing.pixel,
                fixed=fixed,
                all_integer=form.io != "float32",
                in_float=in_float,
            )
        if not in_float:
            self._plans[kind] = made
        return made

    def small_weights(self, graph: Graph, target: Target) -> Plan:
        """Return the plan of a graph with weights of 4 bits; targets with the same groups share it."""
        kind = target.rules.blocks
        if kind not in self._small_weights:
            seen = self.statistics
            with self.stages.stage("quantize") as words:
                words.append(f"weights of 4 bits; {', '.join(recipe.small_weight_words())}")
                self._small_weights[kind] = recipe.w4(graph, seen, target.rules)
        return self._small_weights[kind]

    def coverage(self, target: Target, made: Artifact) -> Coverage | None:
        """Return how an int8 artifact's ranges fit the photos that accuracy is measured on, and tell a misfit once.

        Artifacts that share a plan share it.
        """
        photos, reference = self.subject.photos, self.subject.reference
        if photos is None or made.plan is None or made.graph is None or not fixed_tensors(made.graph, made.plan):
            return None
        for plan, found in self._coverages:
            if plan is made.plan:
                return found
        graph = graph_of(reference, "coverage")
        bare = made.graph.output != graph.output
        with self.stages.stage("coverage") as words:
            found = coverage(
                made.graph,
                made.plan,
                self.statistics,
                self._evaluated,
                self._few,
                reference=without_head(graph) if bare else graph,
                rules=target.rules,
                kind=BARE[reference.output_kind] if bare else reference.output_kind,
            )
            words.append(
                f"the ranges move {len(self._few)} photos of {photos.root} by {100 * found.moved:.1f} %, where their "
                f"own would move them by {100 * found.moved_by_own:.1f} %"
            )
        if not found.fits:
            self.stages.note(
                f"the calibration photos do not fit {photos.root}: {100 * found.evaluated:.2f} % of its values lie "
                f"beyond the ranges, {100 * found.calibrated:.2f} % in calibration (most in {found.worst}), and "
                f"rounding moves its probabilities by {100 * found.moved:.1f} %, where its own ranges would move them "
                f"by {100 * found.moved_by_own:.1f} %; calibrate on photos of every class like those that the model "
                "will see"
            )
        self._coverages.append((made.plan, found))
        give_memory_back()
        return found

    def noise_photos(self, count: int) -> FloatArray:
        """Return a few of the selection photos, or of the embedded model's own, preprocessed (N, H, W, C)."""
        subject, request = self.subject, self.subject.request
        own = subject.photos if request.options.selection is None and request.source.embedded else None
        photos = (own or self.selection).sample(count, request.options.seed)
        return np.stack([subject.preprocessing.photo(file) for file in photos.files])

    def forget(self) -> None:
        """Let go of what only converting needs, the largest things in memory."""
        self._plans.clear()
        self._small_weights.clear()
        self._coverages.clear()
        for name in ("statistics", "_evaluated", "_few"):
            self.__dict__.pop(name, None)


def _largest_of(arrays: Iterable[FloatArray]) -> float:
    """Return the largest absolute value in arrays; 0 if there is none."""
    return max((float(np.abs(one).max()) for one in arrays if one.size), default=0.0)
