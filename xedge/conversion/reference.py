"""The float reference of a model: the reference graph, or what a library's converter makes of the model.

Both answer the same questions (``Reference``), so that nothing else has to ask which of the two it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from xedge.bundle.manifest import Recipe, TensorSpec
from xedge.conversion.artifact import Artifact, Calibration, written
from xedge.conversion.stages import Stages
from xedge.converters import Form, Target, find_library
from xedge.converters.tflite import library as tensorflow
from xedge.device.board import usable_cores
from xedge.errors import CheckError, UnsupportedError, parameter
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_softmax
from xedge.graph.ir import Graph, Weighted
from xedge.memory import give_memory_back
from xedge.metrics import softmax
from xedge.quantization import recipe as int8
from xedge.quantization.affine import Affine
from xedge.quantization.plan import Plan
from xedge.runtimes import Session, Settings, choose_runtime
from xedge.sources import FloatModel, ReadModel, Source
from xedge.types import FloatArray
from xedge.vocabulary import Precision

Layout = Literal["NHWC", "NCHW"]
# How far the reference graph may be from the original model: noise over signal of the logits, and beside it what float32
# itself loses, as a share of the largest logit. A kernel that is wrong by 1 % is beyond it.
PARITY, ROUNDING = 1e-4, 2e-6


class Reference(Protocol):
    """A model in float, ready to be converted and compared with."""

    @property
    def source(self) -> Source:
        """The model as the user named it."""

    @property
    def name(self) -> str:
        """The model's own name."""

    @property
    def way(self) -> str:
        """How the model is converted, in words."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of a photo: (height, width, channels)."""

    @property
    def classes(self) -> int:
        """The width of the output."""

    @property
    def probabilities(self) -> bool:
        """Whether the output is probabilities; otherwise it is logits."""

    @property
    def weights_sha256(self) -> str:
        """A sha256 over the model's weights."""

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""

    @property
    def scheme(self) -> tuple[str, str] | None:
        """The preprocessing scheme that the model suggests, and the reason; None if it suggests none."""

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the probabilities (N, classes) of the model's own framework, where it can be asked."""

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float | None]:
        """Return probabilities of a few photos (N, H, W, C), and how far the reference is from the original model.

        The distance is None where there is no original to ask.

        Raises:
            CheckError: The outputs differ by more than rounding explains (``parity``).
        """

    def tensors(self, photo: FloatArray) -> Mapping[str, FloatArray]:
        """Return the tensors inside for one photo (1, H, W, C), by name, NHWC; empty where there are none to see."""

    def artifact(
        self,
        target: Target,
        form: Form,
        path: Path,
        calibration: Calibration,
        stages: Stages,
        *,
        logits: bool = False,
        in_float: tuple[str, ...] = (),
    ) -> Artifact:
        """Write an artifact's files.

        Args:
            target: The target.
            form: The form of the artifact.
            path: Where, without a suffix; its folder is made.
            calibration: The photos and what was learnt of them, for int8.
            stages: Told what is done.
            logits: Leave the softmax out.
            in_float: Nodes that an int8 artifact leaves in float besides those that it always does.

        Raises:
            UnsupportedError: The target, or the way to it, has no such form.
        """

    def float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Write the same model in fp32, to time an artifact against; None where that is not comparable."""

    def input_spec(self, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact takes.

        Args:
            target: The target.
            form: The form of the artifact.
            plan: The plan whose integers the artifact takes; None if it takes real values or pixels.
        """

    def output_spec(self, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact gives; arguments as for ``input_spec``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphReference:
    """A model that was read into the reference graph.

    Args:
        source: The model as the user named it.
        graph: The reference graph.
        original: The model as its own framework computes it.
        name: The model's own name.
        scheme: The preprocessing scheme that the model suggests, and the reason; None if it suggests none.
    """

    source: Source
    graph: Graph
    original: FloatModel
    name: str
    scheme: tuple[str, str] | None
    way: str = field(default="reference graph", init=False)

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of a photo: (height, width, channels)."""
        height, width, channels = self.graph.input.shape
        return height, width, channels

    @cached_property
    def classes(self) -> int:
        """The width of the output."""
        return _classes(self.source, self.graph.shape(self.graph.output))

    @cached_property
    def probabilities(self) -> bool:
        """Whether the graph ends in a softmax."""
        return without_softmax(self.graph) is not self.graph

    @cached_property
    def weights_sha256(self) -> str:
        """A sha256 over the names, shapes and values of the folded weights."""
        digest = hashlib.sha256()
        for node in self.graph:
            if isinstance(node, Weighted):
                digest.update(f"{node.name}{node.kernel.shape}".encode())
                digest.update(np.ascontiguousarray(node.kernel).tobytes())
                digest.update(np.ascontiguousarray(node.bias).tobytes())
        return digest.hexdigest()

    @cached_property
    def parameters(self) -> int:
        """The number of weights and biases, batch normalization folded."""
        return sum(node.kernel.size + node.bias.size for node in self.graph if isinstance(node, Weighted))

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the graph's probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""
        return self._probabilities(self._output(photos))

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the original model's probabilities (N, classes) for preprocessed photos (H, W, C)."""
        return self._probabilities(self.original.output(photos))

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float | None]:
        """Return the graph's probabilities, and its distance from the original model; as ``Reference`` says."""
        got, expected = self._output(photos, few=True), self.original.output(photos)
        difference = parity(got, expected, probabilities=self.probabilities)
        if not difference <= 1:
            raise CheckError(
                f"{self.name}: the reference graph differs from the original model {difference:.2g} times more than "
                "rounding explains; please report this model"
            )
        return self._probabilities(got), float(np.abs(got - expected).max())

    def tensors(self, photo: FloatArray) -> Mapping[str, FloatArray]:
        """Return the graph's tensors for one photo (1, H, W, C), by name, NHWC; the output has its artifacts' name."""
        graph = self.graph
        names = tuple(node.name for node in graph.nodes[1:] if node.name != graph.output_name)
        tensors = Evaluator(graph, names).tensors(photo)
        output = tensors.pop(graph.output) if graph.output in tensors else None
        nhwc = {name: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for name, v in tensors.items()}
        return nhwc if output is None else {**nhwc, graph.output_name: output}

    def artifact(
        self,
        target: Target,
        form: Form,
        path: Path,
        calibration: Calibration,
        stages: Stages,
        *,
        logits: bool = False,
        in_float: tuple[str, ...] = (),
    ) -> Artifact:
        """Write an artifact of the graph; as ``Reference`` says."""
        graph, plan = self.graph, None
        if form.io != "float32" or logits:
            graph = without_softmax(graph)
        if form.precision == "int8":
            graph, plan = calibration.quantized(graph, target, form, in_float)
        with stages.stage("convert") as words:
            files = written(path, target.convert(graph, form, plan))
            words.append(_sized(target, form, files))
        return Artifact(form=form, files=files, graph=graph, plan=plan, recipe=_graph_recipe(target, form, plan))

    def float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Write the same model in fp32 for what is quantized and takes one photo at a time."""
        if form.precision not in ("int8", "dynamic") or form.batch != 1:
            return None
        return written(path, target.convert(self.graph, replace(form, precision="fp32", io="float32", pixels=None)))[0]

    def input_spec(self, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact of the graph takes; as ``Reference`` says."""
        return _input_spec(self.graph.input.name, self.input_shape, target.layout, form, plan)

    def output_spec(self, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact of the graph gives."""
        affine = plan.activations[without_softmax(self.graph).output] if plan is not None else None
        return _end(self.graph.output_name, (_photos(form), self.classes), form, affine)

    def _output(self, photos: Iterable[FloatArray], *, few: bool = False) -> FloatArray:
        evaluator = Evaluator(self.graph, few=few)
        rows = np.concatenate([evaluator.output(photo[None]) for photo in photos])
        del evaluator
        give_memory_back()
        return rows

    def _probabilities(self, rows: FloatArray) -> FloatArray:
        return rows if self.probabilities else softmax(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class LibraryReference:
    """A model that a library's converter takes; its float TFLite artifact is the reference.

    Args:
        source: The model as the user named it.
        folder: Where the library's files lie, as long as the reference is used.
        reason: Why the model is not in the reference graph.
        session: The float artifact, loaded.
        classes: The width of the output.
        probabilities: Whether the output sums to one.
    """

    source: Source
    folder: Path
    reason: str
    session: Session
    classes: int
    probabilities: bool
    scheme: tuple[str, str] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The name of the file; what the model calls itself is not known."""
        return self.source.name

    @property
    def way(self) -> str:
        """The libraries' converters, and why."""
        return f"libraries' converters ({self.reason})"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of a photo: (height, width, channels)."""
        height, width, channels = self.session.input_shape()[1:]
        return height, width, channels

    @cached_property
    def weights_sha256(self) -> str:
        """The sha256 of the float artifact."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest()

    @property
    def parameters(self) -> int:
        """The number of float32 values that the artifact has room for, which is about that of its parameters."""
        return self._file.stat().st_size // 4

    @property
    def _file(self) -> Path:
        return self.folder / "fp32.tflite"

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the float artifact's probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""
        rows = np.concatenate([self.session.run(photo[None]) for photo in photos]).astype(np.float32)
        return rows if self.probabilities else softmax(rows)

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return what the float artifact says: there is no other original at hand."""
        return self.predict(photos)

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float | None]:
        """Return the float artifact's probabilities, with nothing to hold them against."""
        return self.predict(photos), None

    def tensors(self, photo: FloatArray) -> Mapping[str, FloatArray]:
        """Return nothing: a library's tensors have names of their own."""
        del photo
        return {}

    def artifact(
        self,
        target: Target,
        form: Form,
        path: Path,
        calibration: Calibration,
        stages: Stages,
        *,
        logits: bool = False,
        in_float: tuple[str, ...] = (),
    ) -> Artifact:
        """Have the target's library write an artifact; as ``Reference`` says."""
        del in_float
        library = find_library(target)
        for name, asked in (
            ("io", form.io != "float32"),
            ("batch", form.batch != 1),
            ("pixels", form.pixels is not None),
            ("logits", logits),
        ):
            if asked:
                raise UnsupportedError(
                    f"{self.source}: {parameter(name)} is only for models in the reference graph ({self.reason})"
                )
        with stages.stage("convert") as words:
            files = written(path, library.convert(self.folder, form, calibration.inputs))
            words.append(f"{_sized(target, form, files)}, by {library.WAY}")
        quantized = form.precision in ("int8", "dynamic")
        way = f"{library.WAY} and {library.QUANTIZER}" if quantized else library.WAY
        return Artifact(form=form, files=files, recipe=Recipe(way=way, reason=self.reason))

    def float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Return nothing: what libraries make of a model differs in more than its precision."""
        del target, form, path
        return None

    def input_spec(self, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what a library's artifact takes."""
        del plan
        return _input_spec("input", self.input_shape, find_library(target).LAYOUT, form, None)

    def output_spec(self, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what a library's artifact gives."""
        del plan
        return _end("output", (_photos(form), self.classes), form, None)


def read_reference(
    source: Source,
    scratch: Path,
    *,
    precisions: tuple[Precision, ...] = ("fp32",),
    other_targets: bool = False,
    allow_code: bool = False,
) -> Reference:
    """Read a model into the reference graph, or have TensorFlow's converter prepare it.

    Args:
        source: The model as the user named it.
        scratch: A folder that stays as long as the reference is used.
        precisions: The precisions that a library's converter would have to prepare for TFLite.
        other_targets: Whether other targets' libraries would ask for the model too.
        allow_code: Let the model bring code of its own.

    Raises:
        XedgeError: Neither way takes the model.
    """
    try:
        read = source.kind.read(source, scratch, allow_code=allow_code)
        return _graph_reference(source, read)
    except UnsupportedError as error:
        if source.path is None or not source.kind.libraries_take_it:
            raise
        tensorflow.prepare(source.path, scratch, precisions, saved_model=other_targets, allow_code=allow_code)
        return _library_reference(source, scratch, str(error))


def _graph_reference(source: Source, read: ReadModel) -> GraphReference:
    _classes(source, read.graph.shape(read.graph.output))
    return GraphReference(source=source, graph=read.graph, original=read.original, name=read.name, scheme=read.scheme)


def _library_reference(source: Source, folder: Path, reason: str) -> LibraryReference:
    artifact = folder / "fp32.tflite"
    session = choose_runtime(artifact).open(artifact, Settings(threads=usable_cores()))
    shape = session.input_shape()[1:]
    if len(shape) != 3 or min(shape) < 1:
        raise UnsupportedError(f"{source}: takes {shape}, not photos of a fixed (height, width, channels)")
    sample = session.run(np.zeros((1, *shape), np.float32))
    return LibraryReference(
        source=source,
        folder=folder,
        reason=reason,
        session=session,
        classes=_classes(source, sample.shape[1:]),
        probabilities=bool(sample.min() >= 0 and abs(float(sample.sum()) - 1) < 1e-3),
    )


def parity(got: FloatArray, expected: FloatArray, *, probabilities: bool) -> float:
    """Return how far outputs (N, classes) are from the original model's, in units of what is allowed.

    Logits are compared, for probabilities may hide any error where they are near 0 or 1. Their noise is set against
    their spread around the mean of each photo, so that the size of the logits does not matter.

    Args:
        got: The outputs of the reference graph.
        expected: The outputs of the original model on the same photos.
        probabilities: Whether the outputs are probabilities; otherwise they are logits.
    """
    if probabilities:
        got, expected = (np.log(np.maximum(rows, 1e-9)) for rows in (got, expected))
    noise = float(np.sqrt(np.mean((got - expected) ** 2)))
    signal = float(np.sqrt(np.mean((expected - expected.mean(-1, keepdims=True)) ** 2)))
    allowed = PARITY * signal + ROUNDING * float(np.abs(expected).max())
    return noise / allowed if noise else 0.0


def graph_of(reference: Reference, what: str) -> Graph:
    """Return the reference graph.

    Args:
        reference: The model.
        what: What the graph is needed for, as a sentence's subject, such as ``analyze``.

    Raises:
        UnsupportedError: A library's converter takes the model instead.
    """
    if isinstance(reference, GraphReference):
        return reference.graph
    raise UnsupportedError(f"{reference.source}: {what} needs the reference graph, but it takes the {reference.way}")


def _classes(source: Source, shape: tuple[int, ...]) -> int:
    if len(shape) != 1 or shape[0] < 2:
        raise UnsupportedError(f"{source}: its output is {shape}; a classifier's is one value for each of its classes")
    return shape[0]


def _graph_recipe(target: Target, form: Form, plan: Plan | None) -> Recipe:
    """Return how an artifact was made of the reference graph."""
    weights, activations = target.precisions[form.precision]
    if plan is not None:
        dynamic = any(plan.is_dynamic(name) for name in plan.kernels)
        activations = ", ".join([str(activations), *int8.activation_words(dynamic=dynamic)])
        weights = ", ".join([str(weights), *int8.weight_words(target.rules)])
    return Recipe(
        way="reference graph",
        activations=activations,
        weights=weights,
        float_nodes=tuple(sorted(plan.float_nodes - set(plan.kernels))) if plan is not None else (),
    )


def _sized(target: Target, form: Form, files: list[Path]) -> str:
    return f"{target.title} {form.precision}, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB"


def _photos(form: Form) -> int:
    return -1 if form.batch == "dynamic" else form.batch


def _input_spec(name: str, shape: tuple[int, int, int], layout: Layout, form: Form, plan: Plan | None) -> TensorSpec:
    height, width, channels = shape
    photo = (height, width, channels) if layout == "NHWC" else (channels, height, width)
    whole = (_photos(form), *photo)
    if form.pixels is not None:
        return TensorSpec(name=name, shape=whole, dtype="uint8", layout=layout, scale=1.0, zero_point=0)
    return _end(name, whole, form, plan.activations[name] if plan is not None else None, layout)


def _end(
    name: str, shape: tuple[int, ...], form: Form, affine: Affine | None, layout: Layout | None = None
) -> TensorSpec:
    if affine is None:
        return TensorSpec(name=name, shape=shape, dtype="float32", layout=layout)
    zero_point = affine.zero_point + (128 if form.io == "uint8" else 0)
    return TensorSpec(name=name, shape=shape, dtype=form.io, layout=layout, scale=affine.scale, zero_point=zero_point)
