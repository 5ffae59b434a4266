"""The float reference of a model: the reference graph, or what a library's converter makes of the model.

Both answer the same questions (``Reference``), so that nothing else has to ask which of the two it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from xedge.bundle.manifest import Recipe, TensorSpec
from xedge.conversion.artifact import Artifact, Calibration, written
from xedge.conversion.routes import FileRoute, Route, SavedModelRoute, in_layout
from xedge.conversion.stages import Stages
from xedge.converters import Form, Target
from xedge.converters.tflite import library as tensorflow
from xedge.device.board import usable_cores
from xedge.errors import (
    CheckError,
    InputError,
    MissingRuntimeError,
    ResourceError,
    UnsuitableModelError,
    UnsupportedError,
    UsageError,
    XedgeError,
    brief,
    parameter,
)
from xedge.files import sha256
from xedge.graph.evaluate import Evaluator
from xedge.graph.fold import without_head
from xedge.graph.ir import Activation, Graph, Node, Reshape, Weighted
from xedge.memory import give_memory_back
from xedge.metrics import centred_outputs, class_probabilities
from xedge.quantization import recipe as int8
from xedge.quantization.affine import Affine
from xedge.quantization.plan import Plan
from xedge.runtimes import Session, Settings, choose_runtime
from xedge.runtimes.trial import tried
from xedge.sources import FloatModel, OutsideSetError, ReadModel, Source
from xedge.sources._tensorflow import TensorFlowModel
from xedge.types import FloatArray
from xedge.vocabulary import Layout, OutputKind, Precision

# How far the reference graph may be from the original model: noise over signal of the logits, and on top of that what
# float32 itself loses, as a share of the largest logit. A kernel that is wrong by 1 % is far beyond it.
PARITY, ROUNDING = 1e-4, 2e-6
# How far the sum of a photo's probabilities may be from 1.
SUMS = 1e-3
# The largest number in half precision (IEEE 754 binary16).
HALF = 65504.0


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
        """The number of classes; one output stands for two."""

    @property
    def output_kind(self) -> OutputKind:
        """What the output holds."""

    @property
    def weights_sha256(self) -> str:
        """A sha256 over the model's weights."""

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""

    @property
    def scheme(self) -> tuple[str, str] | None:
        """The preprocessing scheme that the model suggests, and the reason; None if it suggests none."""

    @property
    def size_reason(self) -> str | None:
        """Why photos have the size that they have, where the model takes others too."""

    @property
    def own_size(self) -> tuple[int, int] | None:
        """The height and width that the model itself has, where another size was asked for; None if this is it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the model was taken."""

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the probabilities (N, classes) of the model's own framework, where it can be asked."""

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float]:
        """Return probabilities of a few photos (N, H, W, C), and how far the reference is from the original model.

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
            calibration: The photos and what was learnt of them, for int8 and w4.
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
        size_reason: Why photos have the size that they have, where the model takes others too.
        notes: What the user should know of how the model was taken.
        own_size: The height and width that the model itself has, where another size was asked for; None if this is it.
    """

    source: Source
    graph: Graph
    original: FloatModel
    name: str
    scheme: tuple[str, str] | None
    size_reason: str | None = None
    notes: tuple[str, ...] = ()
    own_size: tuple[int, int] | None = None
    way: str = field(default="reference graph", init=False)

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape of a photo: (height, width, channels)."""
        height, width, channels = self.graph.input.shape
        return height, width, channels

    @cached_property
    def classes(self) -> int:
        """The number of classes; one output stands for two."""
        return _classes(self.source, self.graph.shape(self.graph.output))

    @cached_property
    def output_kind(self) -> OutputKind:
        """What the output holds, as the user says, by how the graph ends or else by the values that it gives.

        Raises:
            UnsupportedError: The graph ends in several sigmoids, which are not the classes of one answer.
            UsageError: It is not what the user says.
        """
        single = self.graph.shape(self.graph.output) == (1,)
        if without_head(self.graph) is not self.graph:
            certain: OutputKind = "probability" if single else "probabilities"
            return _as_asked(self.source, certain, f"the model's last layer gives {certain}")
        last = self.graph[self.graph.output]
        while isinstance(last, Reshape):
            last = self.graph[last.inputs[0]]
        if isinstance(last, Activation) and last.kind in ("sigmoid", "hard_sigmoid"):
            raise _multi_label(self.source, self.graph.shape(self.graph.output)[0])
        if single and self.source.output_kind is None:
            return "logit"
        # An average of probabilities, or what else sums to one for photos of any kind.
        rows = self._output(_noise(self.input_shape), few=True)
        if self.source.output_kind is not None:
            return _fitting(self.source, self.source.output_kind, rows)
        return "probabilities" if _are_probabilities(rows) else "logits"

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

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float]:
        """Return the graph's probabilities, and its distance from the original model; as ``Reference`` says."""
        got, expected = self._output(photos, few=True), self.original.output(photos)
        _check_parity(self.name, "the reference graph", got, expected, self.output_kind)
        return self._probabilities(got), float(np.abs(got - expected).max())

    def tensors(self, photo: FloatArray) -> Mapping[str, FloatArray]:
        """Return the graph's tensors for one photo (1, H, W, C), by name, NHWC; the output has its artifacts' name."""
        graph = self.graph
        names = tuple(node.name for node in graph.nodes[1:] if node.name != graph.output_name)
        tensors = Evaluator(graph, names).tensors(photo)
        output = tensors.pop(graph.output) if graph.output in tensors else None
        nhwc = {name: np.moveaxis(v, 1, -1) for name, v in tensors.items()}
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
        if form.precision in ("fp16", "w4"):
            _check_half(self.source, graph)
        if form.io != "float32" or logits:
            graph = without_head(graph)
        if form.precision == "int8":
            graph, plan = calibration.quantized(graph, target, form, in_float)
        small = calibration.small_weights(graph, target) if form.precision == "w4" else None
        with stages.stage("convert") as words:
            files = written(path, target.convert(graph, form, plan or small))
            words.append(_sized(target, form, files))
        made = _graph_recipe(target, form, plan or small)
        return Artifact(form=form, files=files, graph=graph, plan=plan, recipe=made)

    def float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Write the same model in fp32 for what is quantized and takes one photo at a time."""
        if form.precision in ("fp32", "fp16") or form.batch != 1:
            return None
        return written(path, target.convert(self.graph, replace(form, precision="fp32", io="float32", pixels=None)))[0]

    def input_spec(self, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact of the graph takes; as ``Reference`` says."""
        return _input_spec(self.graph.input.name, self.input_shape, target.layout, form, plan)

    def output_spec(self, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what an artifact of the graph gives."""
        width = self.graph.shape(self.graph.output)[-1]
        affine = plan.activations[without_head(self.graph).output] if plan is not None else None
        return _end(self.graph.output_name, (_photos(form), width), form, affine)

    def _output(self, photos: Iterable[FloatArray], *, few: bool = False) -> FloatArray:
        evaluator = Evaluator(self.graph, few=few)
        rows = np.concatenate([evaluator.output(photo[None]) for photo in photos])
        del evaluator
        give_memory_back()
        return rows

    def _probabilities(self, rows: FloatArray) -> FloatArray:
        return class_probabilities(rows, self.output_kind)


@dataclass(frozen=True, kw_only=True, eq=False)
class LibraryReference:
    """A model that a library's converter takes; the float artifact of its route is the reference.

    Args:
        source: The model as the user named it.
        route: How libraries convert it.
        reason: Why the model is not in the reference graph.
        scheme: The preprocessing scheme that the model suggests, and the reason; None if it suggests none.
        original: The model as its own framework computes it.
        session: The float artifact, loaded.
        classes: The number of classes; one output stands for two.
        output_kind: What the output holds, found out by its values.
        size_reason: Why photos have the size that they have, where the model takes others too.
        notes: What the user should know of how the model was taken.
        own_size: The height and width that the model itself has, where another size was asked for; None if this is it.
    """

    source: Source
    route: Route
    reason: str
    scheme: tuple[str, str] | None
    original: FloatModel
    session: Session
    classes: int
    output_kind: OutputKind
    size_reason: str | None = None
    notes: tuple[str, ...] = ()
    own_size: tuple[int, int] | None = None

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
        return _photo_shape(self.source, self.session, self.route)

    @cached_property
    def weights_sha256(self) -> str:
        """The sha256 of the float artifact."""
        return hashlib.sha256(self.route.float_file.read_bytes()).hexdigest()

    @property
    def parameters(self) -> int:
        """The number of float32 values that the artifact has room for, which is about that of its parameters."""
        return self.route.float_file.stat().st_size // 4

    def predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the float artifact's probabilities (N, classes) for preprocessed photos (H, W, C), one at a time."""
        return class_probabilities(self._output(photos), self.output_kind)

    def original_predict(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return the original model's probabilities (N, classes) for preprocessed photos (H, W, C)."""
        return class_probabilities(self.original.output(photos), self.output_kind)

    def checked_predict(self, photos: FloatArray) -> tuple[FloatArray, float]:
        """Return the float artifact's probabilities, and its distance from the original; as ``Reference`` says."""
        got, expected = self._output(photos), self.original.output(photos)
        _check_parity(self.name, self.route.made_by, got, expected, self.output_kind)
        return class_probabilities(got, self.output_kind), float(np.abs(got - expected).max())

    def _output(self, photos: Iterable[FloatArray]) -> FloatArray:
        layout = self.route.layout
        return np.concatenate([self.session.run(in_layout(photo, layout)) for photo in photos]).astype(np.float32)

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
        if form.precision == "w4":
            raise UnsupportedError(
                f"{self.source}: w4 is only for models in the reference graph ({self.reason}); choose dynamic or int8"
            )
        way, quantizer = self._words(target)
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
            try:
                files = written(path, self.route.convert(target, form, calibration.inputs))
            except XedgeError:
                raise
            except Exception as error:  # the libraries have no exceptions in common
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise UnsupportedError(f"{self.source}: {way} fails for {target.name} ({reason})") from error
            words.append(f"{_sized(target, form, files)}, by {way}")
        way = f"{way} and {quantizer}" if form.precision in ("int8", "dynamic") else way
        return Artifact(form=form, files=files, recipe=Recipe(way=way, reason=self.reason))

    def _words(self, target: Target) -> tuple[str, str]:
        try:
            return self.route.words(target)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.reason}; {error.worded(parameter)}") from error

    def float_sibling(self, target: Target, form: Form, path: Path) -> Path | None:
        """Return nothing: what libraries make of a model differs in more than its precision."""
        del target, form, path
        return None

    def input_spec(self, target: Target, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what a library's artifact takes."""
        del plan
        return _input_spec("input", self.input_shape, self.route.artifact_layout(target), form, None)

    def output_spec(self, form: Form, plan: Plan | None) -> TensorSpec:
        """Return what a library's artifact gives."""
        del plan
        width = 1 if self.output_kind in ("probability", "logit") else self.classes
        return _end("output", (_photos(form), width), form, None)


def read_reference(
    source: Source,
    scratch: Path,
    *,
    precisions: tuple[Precision, ...] = ("fp32",),
    allow_code: bool = False,
) -> Reference:
    """Read a model into the reference graph, or prepare it for libraries' converters.

    Args:
        source: The model as the user named it.
        scratch: A folder that stays as long as the reference is used.
        precisions: The precisions that a library's converter would have to prepare for TFLite.
        allow_code: Let the model bring code of its own.

    Raises:
        XedgeError: Neither way takes the model.
    """
    try:
        read = source.kind.read(source, scratch, allow_code=allow_code)
        return _graph_reference(source, read)
    except UnsuitableModelError:
        raise
    except UnsupportedError as error:
        if source.path is None or (source.kind.library is None and source.kind.float_file is None):
            raise
        seen = error if isinstance(error, OutsideSetError) else OutsideSetError(str(error))
        if source.kind.float_file is not None:
            file = source.kind.float_file(source, scratch)
            return _library_reference(source, FileRoute(file=file), seen, file.original)
        assert source.kind.library is not None
        original = TensorFlowModel(source.kind.library, source, allow_code=allow_code)
        try:
            integers = original.export(scratch / tensorflow.SAVED_MODEL)
        except MissingRuntimeError as missing:
            # What stands in the way of the reference graph may be all that has to be changed.
            raise MissingRuntimeError(f"{missing}; it is needed because {seen.worded(parameter)}") from error
        tensorflow.prepare(source, scratch, precisions)
        if integers:
            seen.scheme = "raw", "the model takes integers"
        return _library_reference(source, SavedModelRoute(folder=scratch), seen, original)


def _graph_reference(source: Source, read: ReadModel) -> GraphReference:
    _check_values(source, read.graph)
    _classes(source, read.graph.shape(read.graph.output))
    if source.size is not None and source.size != read.graph.input.shape[:2]:
        raise UnsuitableModelError(f"{source}: takes photos of {read.graph.input.shape[:2]}, not of {source.size}")
    return GraphReference(
        source=source,
        graph=read.graph,
        original=read.original,
        name=read.name,
        scheme=read.scheme,
        size_reason=read.size_reason,
        notes=read.notes,
        own_size=read.own_size,
    )


def constants_of(node: Node) -> list[np.ndarray]:
    """Return the kernel, the bias and the constant of a node, those that it has."""
    arrays = (getattr(node, name, None) for name in ("kernel", "bias", "constant"))
    return [array for array in arrays if array is not None]


def _check_values(source: Source, graph: Graph) -> None:
    """Refuse a model that has values that are no numbers.

    Raises:
        InputError: A kernel, bias or constant is not finite; the message names the layer.
    """
    for node in graph:
        if not all(np.isfinite(array).all() for array in constants_of(node)):
            raise InputError(
                f"{source}: the layer {node.name} has values that are no numbers, or a negative variance, so that its "
                "training diverged; train it again or give an earlier checkpoint"
            )


def _check_half(source: Source, graph: Graph) -> None:
    """Refuse weights that half precision cannot hold.

    Raises:
        UnsupportedError: There is such a weight; the message names its layer.
    """
    for node in graph:
        largest = float(np.abs(node.kernel).max()) if isinstance(node, Weighted) else 0.0
        if largest > HALF:
            raise UnsupportedError(
                f"{source}: the layer {node.name} has a weight of {largest:.3g}, and half precision ends at {HALF:g}; "
                "choose fp32 or int8"
            )


def _library_reference(source: Source, route: Route, seen: OutsideSetError, original: FloatModel) -> LibraryReference:
    artifact, settings = route.float_file, Settings(threads=usable_cores())
    runtime = choose_runtime(artifact)

    def answered() -> tuple[Session, FloatArray]:
        session = runtime.open(artifact, settings)
        samples = _noise(_photo_shape(source, session, route))
        return session, np.concatenate([session.run(in_layout(sample, route.layout)) for sample in samples])

    try:
        runtime.load()
        tried(artifact, sha256(artifact), runtime, settings, answered)
        session, rows = answered()
    except (MissingRuntimeError, ResourceError, UnsupportedError):
        raise
    except Exception as error:  # what computes it may raise anything
        words = error.worded(parameter) if isinstance(error, XedgeError) else brief(error)
        words = words.removeprefix(f"{artifact}: ").replace(f"{artifact.parent}/", "")
        raise UnsupportedError(f"{seen.worded(parameter)}; nor can a library take it ({words})") from error
    return LibraryReference(
        source=source,
        route=route,
        reason=str(seen),
        scheme=seen.scheme,
        notes=seen.notes,
        size_reason="as asked" if source.size is not None else None,
        original=original,
        session=session,
        classes=_classes(source, rows.shape[1:]),
        output_kind=_kind_of_values(source, rows),
    )


def _photo_shape(source: Source, session: Session, route: Route) -> tuple[int, int, int]:
    """Return the shape of a photo, (height, width, channels), that a float artifact takes."""
    shape = session.input_shape()[1:]
    if len(shape) != 3 or min(shape) < 1:
        raise UnsupportedError(f"{source}: takes {shape}, not photos of a fixed (height, width, channels)")
    return shape if route.layout == "NHWC" else (shape[1], shape[2], shape[0])


def parity(got: FloatArray, expected: FloatArray, kind: OutputKind) -> float:
    """Return how far outputs (N, classes) are from the original model's, in units of what is allowed.

    Logits are compared, for probabilities may hide any error where they are near 0 or 1. Their noise is set against
    their spread around the mean of each photo, so that the size of the logits does not matter.

    Args:
        got: The outputs of the reference graph.
        expected: The outputs of the original model on the same photos.
        kind: What the outputs are.
    """
    largest = float(np.abs(expected).max())
    got, expected = (centred_outputs(rows, kind) for rows in (got, expected))
    noise, signal = (float(np.sqrt(np.mean(values**2))) for values in (got - expected, expected))
    # A probability is rounded relative to itself, which is a constant error of its logarithm.
    allowed = PARITY * signal + ROUNDING * max(largest, 1.0 if kind in ("probabilities", "probability") else 0.0)
    return noise / allowed if noise else 0.0


def _check_parity(name: str, made: str, got: FloatArray, expected: FloatArray, kind: OutputKind) -> None:
    difference = parity(got, expected, kind)
    if not difference <= 1:
        raise CheckError(
            f"{name}: what {made} computes differs from the original model {difference:.2g} times more than rounding "
            "explains; please report this model"
        )


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
    if len(shape) != 1:
        raise UnsupportedError(f"{source}: its output is {shape}; a classifier's is one value for each of its classes")
    return max(shape[0], 2)


def _as_asked(source: Source, found: OutputKind, reason: str) -> OutputKind:
    """Return what an output certainly holds, if it is what the user says."""
    if source.output_kind not in (None, found):
        raise UsageError(f"{source}: {reason}, but {parameter('output_kind')} is {source.output_kind}")
    return found


def _fitting(source: Source, asked: OutputKind, rows: FloatArray) -> OutputKind:
    """Return the kind that the user says, if outputs (N, width) can be that."""
    width, single = rows.shape[1], asked in ("probability", "logit")
    given = f"{parameter('output_kind')} is {asked}"
    if single != (width == 1):
        raise UsageError(f"{source}: has {width} output{'s' if width > 1 else ''}, but {given}")
    low, high = float(rows.min()), float(rows.max())
    if asked in ("probabilities", "probability") and not (low >= 0 and high <= 1 + SUMS):
        raise UsageError(f"{source}: its output has values from {low:.3g} to {high:.3g}, but {given}")
    if asked == "probabilities" and not _are_probabilities(rows):
        raise UsageError(f"{source}: its outputs for a photo do not add up to 1, but {given}")
    return asked


def _kind_of_values(source: Source, rows: FloatArray) -> OutputKind:
    """What outputs (N, width) hold, as the user says or else by their values."""
    if source.output_kind is not None:
        return _fitting(source, source.output_kind, rows)
    single, bounded = rows.shape[1] == 1, bool(rows.min() >= 0 and rows.max() <= 1)
    if single:
        return "probability" if bounded else "logit"
    if _are_probabilities(rows):
        return "probabilities"
    if bounded:
        raise _multi_label(source, rows.shape[1])
    return "logits"


def _are_probabilities(rows: FloatArray) -> bool:
    return bool(rows.min() >= 0) and float(np.abs(rows.sum(1) - 1).max()) < SUMS


def _noise(shape: tuple[int, int, int]) -> list[FloatArray]:
    """Photos (H, W, C) of noise, of the size of scaled values and of pixels, to find out what outputs hold."""
    noise = np.random.default_rng(0)
    return [noise.uniform(-1, high, shape).astype(np.float32) for high in (1, 1, 255, 255)]


def _multi_label(source: Source, width: int) -> UnsupportedError:
    return UnsupportedError(
        f"{source}: ends in {width} sigmoids, each of which answers for itself (multi-label); xedge converts models "
        "that choose one class, with a softmax, with logits, or with one sigmoid for two classes"
    )


def _graph_recipe(target: Target, form: Form, plan: Plan | None) -> Recipe:
    """Return how an artifact was made of the reference graph."""
    weights, activations = target.kept(form)
    if plan is not None and form.precision == "int8":
        dynamic = any(plan.is_dynamic(name) for name in plan.kernels)
        integer_sums = form.ranges == "fixed" or form.io != "float32"
        words = int8.activation_words(dynamic=dynamic, integer_sums=integer_sums)
        activations = ", ".join([str(activations), *words])
        weights = ", ".join([str(weights), *int8.weight_words(target.rules)])
    if form.precision == "w4":
        weights = ", ".join([str(weights), *int8.small_weight_words()])
    return Recipe(
        way="reference graph",
        activations=activations,
        weights=weights,
        ranges=form.ranges,
        float_nodes=() if plan is None else tuple(sorted(plan.float_nodes - {*plan.kernels, *plan.weights})),
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
