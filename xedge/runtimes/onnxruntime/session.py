"""ONNX Runtime, on its CPU kernels, CUDA or TensorRT."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime

from xedge.device.accelerator import engine_key
from xedge.device.system import System
from xedge.errors import BundleError, MissingRuntimeError, brief, parameter
from xedge.runtimes import Contents, Execution, Operation, Role, Session, Settings, TimedOperation, chosen_output
from xedge.runtimes.onnxruntime import HALF_MARK
from xedge.types import FloatArray, Tensor

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# Denormals are slow here, and every other runtime takes them for zero too.
OPTIONS = {"session.set_denormal_as_zero": "1"}
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")
INTEGERS = ("int8", "uint8")
# The types of inputs besides float32, by ONNX Runtime's names.
TYPES = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(float16)": np.float16}
# The number of inferences over which a node's time is the median.
PROFILED = 10


class OnnxSession:
    """An inference session on one provider.

    Args:
        artifact: The .onnx file.
        settings: The number of threads, the provider, and how exact it has to be.
    """

    def __init__(self, artifact: Path, settings: Settings) -> None:
        self._artifact, self._threads, self._settings = artifact, settings.threads, settings
        self._provider = settings.provider or "cpu"
        self._asked = provider_options(settings, engine_key(System()) if self._provider == "tensorrt" else None)
        options = _options(settings.threads)
        if settings.few:
            # The next level of optimization makes a reordered copy of every weight.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        self._session = self._open(options)
        self._input, outputs = self._session.get_inputs()[0], self._session.get_outputs()
        self._output = outputs[chosen_output(artifact, [one.name for one in outputs], settings)]

    def _open(self, options: Any) -> Any:
        wanted = PROVIDERS[self._provider]
        installed = onnxruntime.get_available_providers()
        if wanted not in installed:
            raise MissingRuntimeError(
                f"{parameter('provider')} {self._provider}: this onnxruntime has {', '.join(installed)}; install a "
                f"build with it, or leave {parameter('provider')} out"
            )
        try:
            session = onnxruntime.InferenceSession(str(self._artifact), options, providers=self._providers(installed))
        except Exception as error:  # ONNX Runtime's exception types have no common base
            raise BundleError(f"{self._artifact}: onnxruntime does not load it ({brief(error)})") from error
        if session.get_providers()[0] != wanted:
            raise MissingRuntimeError(
                f"{parameter('provider')} {self._provider}: onnxruntime fell back to {session.get_providers()[0]}; its "
                "libraries are missing or do not fit this device"
            )
        return session

    def _providers(self, installed: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
        """Return the wanted provider with its options; TensorRT is followed by CUDA, for the nodes that it leaves."""
        wanted = [(PROVIDERS[self._provider], self._asked)]
        if self._provider == "tensorrt" and PROVIDERS["cuda"] in installed:
            wanted.append((PROVIDERS["cuda"], {}))
        return wanted

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (N, classes) for an input (N, C, H, W)."""
        output: Tensor = self._session.run([self._output.name], {self._input.name: photo})[0]
        return output

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included; -1 where it is free."""
        return tuple(size if isinstance(size, int) else -1 for size in self._input.shape)

    def execution(self) -> Execution:
        """Return the provider that was obtained and what was set."""
        told = Execution(
            runtime="onnxruntime",
            version=onnxruntime.__version__,
            threads=self._threads,
            provider=self._provider,
            options={**OPTIONS, **self._asked, **self._arithmetic()},
        )
        return told if self._provider == "cpu" else replace(told, **placement(self._executed(), self._provider))

    def _arithmetic(self) -> dict[str, str]:
        """Return in what a file in half precision is really computed: in float32 where there are no kernels for it."""
        name, value = HALF_MARK
        if self._provider != "cpu" or self._session.get_modelmeta().custom_metadata_map.get(name) != value:
            return {}
        products = [one for one in self.operations() if one.product]
        return {name: value if any(one.precision == value for one in products) else "float32"}

    def operations(self) -> list[Operation]:
        """Return the nodes of the optimized graph, from the profile of one inference."""
        return [_operation(event["args"]) for event in self._executed()]

    def _executed(self) -> list[Any]:
        """Return the events of one inference."""
        shape = self._settings.shape_for(self.input_shape()) or self.input_shape()
        return self._profile(np.zeros([max(size, 1) for size in shape], TYPES.get(self._input.type, np.float32)), 1)

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return the nodes of the optimized graph with their median times."""
        events: dict[str, list[Any]] = {}
        for event in self._profile(photo, PROFILED):
            events.setdefault(event["name"].removesuffix("_kernel_time"), []).append(event)
        return [self._timed(name, same) for name, same in events.items()]

    def _timed(self, name: str, events: list[Any]) -> TimedOperation:
        node = events[0]["args"]
        provider = node.get("provider", "")
        return TimedOperation(
            name=name,
            ms=median(event["dur"] for event in events) / 1000,
            kernel=f"{node['op_name']} ({provider.removesuffix('ExecutionProvider')})",
            operation=_operation(node),
            threads=self._threads,
            delegated=None if self._provider == "cpu" else provider == PROVIDERS[self._provider],
        )

    def _profile(self, photo: Tensor, runs: int) -> list[Any]:
        """Return the events of all executed nodes."""
        with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
            options = _options(self._threads)
            options.enable_profiling, options.profile_file_prefix = True, str(Path(scratch) / "profile")
            session = self._open(options)
            for _ in range(runs):
                session.run(None, {self._input.name: photo})
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return [event for event in events if event.get("cat") == "Node" and "op_name" in event["args"]]


def provider_options(settings: Settings, key: str | None) -> dict[str, str]:
    """Return the options that a provider is opened with.

    Args:
        settings: How the artifact is to be run. TensorRT may use half precision unless float32 has to be exact.
        key: The device and the version of TensorRT for which an engine is made, as a folder's name; None keeps no
            engine.
    """
    if settings.provider != "tensorrt":
        return {}
    options = {"trt_fp16_enable": str(int(not settings.exact)), "trt_int8_enable": str(int(settings.integers))}
    if key is not None and settings.engines is not None:
        folder = settings.engines / key
        folder.mkdir(parents=True, exist_ok=True)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    return options


def placement(events: Iterable[Any], provider: str) -> dict[str, Any]:
    """Return which nodes an accelerator took, as fields of ``Execution``; TensorRT runs a subgraph as one node."""
    placed = Counter(event["args"].get("provider", "unknown") for event in events)
    taken = placed[PROVIDERS[provider]]
    return {
        "delegate": provider if taken else None,
        "operators": sum(placed.values()),
        "delegated": taken,
        "partitions": taken if provider == "tensorrt" else None,
    }


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    for key, value in OPTIONS.items():
        options.add_session_config_entry(key, value)
    return options


def _operation(node: Any) -> Operation:
    kind = node["op_name"]
    types = [name for side in ("input_type_shape", "output_type_shape") for one in node[side] for name in one]
    product = any(part in kind for part in ("Conv", "Gemm", "MatMul")) and not _of_two_tensors(node)
    if kind in CONVERSIONS:
        return Operation(kind=kind, precision=f"{types[0]} to {types[-1]}", role="conversion", product=False)
    role: Role = "integer" if types and types[0] in INTEGERS else "float"
    return Operation(
        kind=kind,
        precision=types[0] if types else "unknown",
        role=role,
        product=product,
        multiply_accumulates=_multiply_accumulates(node) if product else None,
    )


def _multiply_accumulates(node: Any) -> int | None:
    """Count the results of a convolution or matrix product times what each sums, for one photo; None if not told.

    ONNX Runtime does not tell the shapes of kernels that it has packed, which are those of most convolutions.
    """
    inputs = [shape for one in node["input_type_shape"] for shape in one.values() if len(shape) > 1]
    results = [shape for one in node["output_type_shape"] for shape in one.values()]
    if not inputs or not results or min(results[0], default=0) < 1:
        return None
    if "Conv" not in node["op_name"]:
        return int(prod(results[0][1:]) * inputs[0][-1])
    return int(prod(results[0][1:]) * prod(inputs[1][1:])) if len(inputs) > 1 else None


def open_session(artifact: Path, settings: Settings) -> Session:
    """Load an .onnx file."""
    return OnnxSession(artifact, settings)


def companions(artifact: Path) -> tuple[str, ...]:
    """Return the names of the files beside an .onnx file that hold its weights."""
    from xedge.runtimes.onnxruntime import contents  # noqa: PLC0415 - needs onnx, which running does not

    return contents.companions(artifact)


def contents(artifact: Path) -> Contents:
    """Return what an .onnx file holds."""
    from xedge.runtimes.onnxruntime import contents  # noqa: PLC0415 - as above

    return contents.contents(artifact)


def read_tensors(artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every float tensor of one inference by name, NHWC; integers are returned dequantized."""
    try:
        import onnx  # noqa: PLC0415 - the runtime alone has no means to ask for tensors inside
    except ImportError as error:
        raise MissingRuntimeError(f"looking inside an .onnx file needs onnx ({error}); pip install onnx") from error
    model = onnx.shape_inference.infer_shapes(onnx.load(artifact))
    own = {value.name for value in model.graph.output}
    float_types = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    floats = {v.name: v for v in model.graph.value_info if v.type.tensor_type.elem_type in float_types}
    made = [name for node in model.graph.node for name in node.output]
    constants = _constants(model)
    wanted = [name for name in made if name in floats and name not in constants and name not in own]
    model.graph.output.extend(floats[name] for name in wanted)
    options = _options(1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDERS["cpu"]])
    names = [*wanted, *own]
    values = session.run(names, {session.get_inputs()[0].name: photo})
    tensors = dict(zip(names, map(_nhwc, values), strict=True))
    return {name.removesuffix("#dequantized"): value for name, value in tensors.items()}


def constants(artifact: Path) -> dict[str, Tensor]:
    """Return the constants of an .onnx file, scales among them."""
    try:
        import onnx  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingRuntimeError(f"looking inside an .onnx file needs onnx ({error}); pip install onnx") from error
    return {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(artifact).graph.initializer}


def _constants(model: Any) -> set[str]:
    """Return the names of the tensors that do not depend on the photo."""
    constant = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in constant for name in node.input):
            constant.update(node.output)
    return constant


def _nhwc(value: Any) -> FloatArray:
    return np.asarray(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value, dtype=np.float32)


def _of_two_tensors(node: Any) -> bool:
    """Whether a product has axes before both of its matrices, as those of attention; weights have none."""
    shapes = [shape for one in node["input_type_shape"] for shape in one.values()]
    return "MatMul" in node["op_name"] and len(shapes) > 1 and len(shapes[1]) > 2
