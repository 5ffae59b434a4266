"""OpenVINO, on the CPU plugin or another device."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino

from xedge.errors import BundleError, InputError, MissingRuntimeError, parameter
from xedge.runtimes import Contents, End, Execution, Operation, Role, Session, Settings, TimedOperation, chosen_output
from xedge.types import FloatArray, Tensor
from xedge.vocabulary import Precision

INTEGERS = ("i8", "u8", "i32")
# A product with weights is FullyConnected; MatMul is one of two tensors.
PRODUCTS = ("Convolution", "FullyConnected")
CONVERSIONS = ("Reorder", "Convert", "FakeQuantize")
# The number of inferences over which a node's time is the median.
PROFILED = 10
# Operations of a model, as the file names them: those with weights, and those between weights or photos and them.
WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData", "MatMul")
UNPACKING = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose", "FakeQuantize", "Squeeze", "Unsqueeze")
MOVING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Pad", "MaxPool", "Convert", "Multiply", "Subtract")
STORED: dict[str, Precision] = {"f16": "fp16", "bf16": "fp16", "f32": "fp32", "f64": "fp32", "i4": "w4", "u4": "w4"}
# How OpenVINO's Model API writes that something is so.
YES = ("True", "true", "YES", "Yes", "yes", "1")
NO_WORK = ("Const", "Input", "Output", "Parameter", "Result")


class OpenvinoSession:
    """A compiled model with one request.

    Args:
        artifact: The .xml file, with its .bin beside it.
        settings: The number of threads, the provider, and whether float32 has to be computed in float32.
    """

    def __init__(self, artifact: Path, settings: Settings) -> None:
        core = openvino.Core()
        self._provider = settings.provider or "cpu"
        device = self._provider.upper()
        if device not in {name.split(".")[0] for name in core.available_devices}:
            raise MissingRuntimeError(
                f"{parameter('provider')} {self._provider}: OpenVINO finds {', '.join(core.available_devices)} on "
                "this machine"
            )
        self._threads = settings.threads
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}
        if device == "CPU":
            options["INFERENCE_NUM_THREADS"] = settings.threads
        if settings.exact:
            options["INFERENCE_PRECISION_HINT"] = "f32"
        self._artifact, self._device, self._options, self._settings = artifact, device, options, settings
        try:
            self._compiled = _compiled(core, artifact, device, options, settings)
        except RuntimeError as error:
            raise BundleError(f"{artifact}: openvino does not load it ({_cause(error, settings)})") from error
        names = [name_of(one) for one in self._compiled.outputs]
        self._output = chosen_output(artifact, names, settings)
        self._request = self._compiled.create_infer_request()
        self._type = self._compiled.input(0).get_element_type().to_dtype()
        self._shape = open_shape(self._compiled.input(0))

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (N, classes) for an input (N, C, H, W)."""
        # OpenVINO would read the bytes of another type as if they were its own.
        if photo.dtype != self._type:
            raise BundleError(f"{self._artifact}: takes {self._type}, and was given {photo.dtype}; convert again")
        output: Tensor = np.array(self._request.infer([photo], share_inputs=True)[self._output])
        return output

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included; -1 where it is free."""
        return self._shape

    def execution(self) -> Execution:
        """Return the device that was obtained and the settings that it tells."""
        told = {key: str(self._compiled.get_property(key)) for key in ("PERFORMANCE_HINT", "NUM_STREAMS")}
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        told["INFERENCE_PRECISION_HINT"] = getattr(precision, "to_string", lambda: str(precision))()
        return Execution(
            runtime="openvino",
            version=openvino.__version__.split("-")[0],
            threads=self._threads,
            provider=self._provider,
            options=told,
        )

    def operations(self) -> list[Operation]:
        """Return the nodes of the compiled model that depend on the photo."""
        return list(self._operations().values())

    def _operations(self) -> dict[str, Operation]:
        """Return the nodes of the compiled model that depend on the photo, by their names."""
        constant: set[str] = set()
        operations = {}
        for node in self._compiled.get_runtime_model().get_ordered_ops():
            info = {key: value.value for key, value in node.get_rt_info().items()}
            kind, name = str(info["layerType"]), node.get_friendly_name()
            sources = [source.get_node().get_friendly_name() for source in node.input_values()]
            if kind == "Const" or (sources and all(source in constant for source in sources)):
                constant.add(name)
            elif kind not in NO_WORK:
                operation = _operation(kind, str(info["runtimePrecision"]))
                work = _multiply_accumulates(node) if operation.product else None
                operations[name] = replace(operation, multiply_accumulates=work)
        return operations

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return the nodes of the compiled model with their median times."""
        options = {**self._options, "PERF_COUNT": True}
        compiled = _compiled(openvino.Core(), self._artifact, self._device, options, self._settings)
        request = compiled.create_infer_request()
        taken: dict[str, list[Any]] = {}
        for _ in range(PROFILED):
            request.infer([photo])
            for node in request.get_profiling_info():
                if node.status == openvino.ProfilingInfo.Status.EXECUTED:
                    taken.setdefault(node.node_name, []).append(node)
        known = self._operations()
        return [
            TimedOperation(
                name=name,
                ms=1000 * median(node.real_time.total_seconds() for node in nodes),
                kernel=nodes[0].exec_type,
                operation=known.get(name) or _operation(nodes[0].node_type, _kernel_precision(nodes[0].exec_type)),
                threads=self._threads,
            )
            for name, nodes in taken.items()
        ]


def _compiled(core: Any, artifact: Path, device: str, options: dict[str, Any], settings: Settings) -> Any:
    """Return the compiled model; sizes of its input that the file leaves open are fixed first: it is faster so."""
    if settings.shape is None or -1 in settings.shape:
        return core.compile_model(str(artifact), device, options)
    model = core.read_model(str(artifact))
    shape = settings.shape_for(open_shape(model.inputs[0]))
    if shape is not None:
        model.reshape(list(shape))
    return core.compile_model(model, device, options)


def open_shape(port: Any) -> tuple[int, ...]:
    """Return the shape of an input or output, -1 where it is open; an output of any rank has the shape (-1,)."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return (-1,)
    return tuple(size.get_length() if size.is_static else -1 for size in shape)


def name_of(port: Any) -> str:
    """Return the name of an input or output; without one, that of the operation that it belongs to."""
    return str(min(port.get_names(), default=port.get_node().get_friendly_name()))


def _cause(error: RuntimeError, settings: Settings) -> str:
    words = _last_line(error)
    if settings.integers and platform.machine() == "aarch64":
        # Seen with OpenVINO 2026.4 on Cortex-A53 and A72, the processors of the Pi 3 and 4, which load float32.
        words += "; it takes no int8 on Arm processors without half precision: convert to tflite or onnx instead"
    return words


def _operation(kind: str, precision: str) -> Operation:
    if kind in CONVERSIONS:
        return Operation(kind=kind, precision=precision, role="conversion", product=False)
    role: Role = "integer" if precision in INTEGERS else "float"
    return Operation(kind=kind, precision=precision, role=role, product=kind in PRODUCTS)


def _kernel_precision(kernel: str) -> str:
    """Return the precision in which a kernel computes, in which its name ends, such as ``brgconv_avx512_1x1_I8``."""
    return kernel.rpartition("_")[2].lower()


def _multiply_accumulates(node: Any) -> int | None:
    """Count the results of a convolution or matrix product times what each sums, for one photo; None if sizes are open.

    Kernels are (outputs, inputs, h, w); of groups, (groups, outputs, inputs, h, w).
    """
    shapes = [source.get_partial_shape() for source in node.input_values()[:2]]
    result = node.get_output_partial_shape(0)
    if len(shapes) < 2 or not all(shape.is_static for shape in (*shapes, result)):
        return None
    kernel, made = ([int(size) for size in shape.to_shape()] for shape in (shapes[1], result))
    grouped = len(kernel) > len(made)
    return prod(made[1:]) * prod(kernel[2:] if grouped else kernel[1:])


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load an .xml file and its .bin."""
    return OpenvinoSession(artifact, settings)


def companions(artifact: Path) -> tuple[str, ...]:
    """Return the name of the file with the weights.

    Raises:
        InputError: It is missing.
    """
    weights = artifact.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"{weights}: is missing; the weights of an .xml file have to be beside it")
    return (weights.name,)


def contents(artifact: Path) -> Contents:
    """Return what an .xml file and its .bin hold."""
    model = openvino.Core().read_model(str(artifact))
    return Contents(
        inputs=tuple(replace(_end(one), normalization=_normalization(model)) for one in model.inputs),
        outputs=tuple(replace(_end(one), labels=_labels(model)) for one in model.outputs),
        weights=_weights(model),
    )


def _labels(model: Any) -> str | None:
    """Return the labels, one on each line, where the file names them as OpenVINO's Model API does."""
    return "\n".join(_told(model, "labels").split()) or None


def _normalization(model: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the means and deviations of pixels, where the file names them as OpenVINO's Model API does.

    Nothing is told of a model that prepares photos itself, or whose channels are in the order BGR.
    """
    told = {name: _told(model, name) for name in ("mean_values", "scale_values")}
    if _told(model, "embedded_processing") in YES or _told(model, "reverse_input_channels") not in YES:
        return None
    if not any(told.values()):
        return None
    try:
        means, deviations = (tuple(map(float, text.replace(",", " ").split())) for text in told.values())
    except ValueError:
        return None
    return means or (0.0,), deviations or (1.0,)


def _told(model: Any, name: str) -> str:
    """Return a text that OpenVINO's Model API keeps in a file; an empty one if it is not there."""
    place = ["model_info", name]
    return str(model.get_rt_info(place).value) if model.has_rt_info(place) else ""


def _end(port: Any) -> End:
    kind = port.get_element_type()
    name = "bfloat16" if kind == openvino.Type.bf16 else kind.to_dtype().name
    return End(name=name_of(port), shape=open_shape(port), dtype=name)


def _weights(model: Any) -> dict[Precision, int]:
    """Count the weights of products by the precision in which they compute."""
    counts: Counter[Precision] = Counter()
    for node in model.get_ops():
        if node.get_type_name() not in WEIGHTED:
            continue
        sources = [source.get_node() for source in node.input_values()[:2]]
        behind = [_behind(source, UNPACKING) for source in sources]
        for kernel, rounded in behind[::-1]:
            if kernel.get_type_name() == "Constant":
                photo = sources[1 - behind.index((kernel, rounded))]
                integers = rounded or kernel.get_element_type().get_type_name() not in STORED
                fixed = _behind(photo, MOVING)[0].get_type_name() == "FakeQuantize"
                precision = STORED.get(kernel.get_element_type().get_type_name(), "dynamic")
                if integers:
                    precision = "int8" if fixed else "dynamic"
                counts[precision] += prod(kernel.get_output_shape(0))
                break
    return dict(counts)


def _behind(node: Any, kinds: tuple[str, ...]) -> tuple[Any, bool]:
    """Follow the first inputs of operations of some kinds; return where that ends, and whether values were rounded."""
    rounded = False
    while node.get_type_name() in kinds:
        rounded = rounded or node.get_type_name() == "FakeQuantize"
        node = node.input_value(0).get_node()
    return node, rounded


def read_tensors(artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every float tensor of one inference by name, NHWC; rounded tensors have the values of their integers."""
    core = openvino.Core()
    model = core.read_model(str(artifact))
    constant: set[str] = set()
    wanted: dict[str, Any] = {}
    for node in model.get_ordered_ops():
        sources = [source.get_node().get_friendly_name() for source in node.input_values()]
        name = node.get_friendly_name()
        if node.get_type_name() == "Constant" or (sources and all(source in constant for source in sources)):
            constant.add(name)
        elif sources and node.get_type_name() != "Result" and node.output(0).get_element_type() == openvino.Type.f32:
            wanted[name] = node.output(0)
    output = next(iter(model.output(0).get_names()))
    for name in (output, model.output(0).get_node().get_friendly_name()):
        wanted.pop(name, None)
    model.add_outputs(list(wanted.values()))
    names = [result.input_value(0).get_node().get_friendly_name() for result in model.results]
    results = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([photo])
    tensors = {name: _nhwc(results[i]) for i, name in enumerate(names)}
    rounded = {name.removesuffix("#quantized"): value for name, value in tensors.items() if name.endswith("#quantized")}
    return {**tensors, **rounded, output: _nhwc(results[0])}


def constants(artifact: Path) -> dict[str, Tensor]:
    """Return the constants of an artifact for OpenVINO, scales among them."""
    found: dict[str, Tensor] = {}
    for node in openvino.Core().read_model(str(artifact)).get_ordered_ops():
        if node.get_type_name() == "Constant":
            found[node.get_friendly_name()] = np.array(node.data)
    return found


def _nhwc(value: Any) -> FloatArray:
    return np.array(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value, dtype=np.float32)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__
