"""The interpreter that ai-edge-litert and tflite-runtime have in common."""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xedge.device.processor import has_half_arithmetic
from xedge.errors import BundleError, brief
from xedge.native_log import native_log
from xedge.runtimes import Contents, End, Execution, Operation, Settings, TimedOperation, chosen_output
from xedge.runtimes._tflite_metadata import read_metadata
from xedge.types import FloatArray, Tensor
from xedge.vocabulary import Precision, ScaleKind

# The name and value of an entry in a file's metadata, without which XNNPACK computes in fp32 even if the processor has
# half-precision arithmetic (tensorflow/lite/tools/optimize/reduced_precision_metadata.h).
HALF_MARK = ("reduced_precision_support", b"fp16accfp16")
PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
INTEGERS = (np.int8, np.uint8, np.int16)


class InterpreterSession:
    """A TFLite interpreter with its tensors allocated.

    Args:
        interpreter_class: The runtime's ``Interpreter``.
        runtime: The runtime's name, for reports.
        version: The runtime's version, for reports.
        artifact: The .tflite file.
        settings: The settings, of which the number of threads counts; the interpreter's own default is 1.
    """

    def __init__(self, interpreter_class: Any, runtime: str, version: str, artifact: Path, settings: Settings) -> None:
        threads = settings.threads
        try:
            self._interpreter = interpreter_class(model_path=str(artifact), num_threads=threads)
            source = self._interpreter.get_input_details()[0]
            shape = settings.shape_for(_open_shape(source))
            if shape is not None and shape != tuple(source["shape"]):
                self._interpreter.resize_tensor_input(source["index"], shape)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{artifact}: {runtime} {version} does not load it ({brief(error)})") from error
        self._input: int = source["index"]
        outputs = self._interpreter.get_output_details()
        names = [one["name"] for one in outputs]
        self._output: int = outputs[chosen_output(artifact, names, settings)]["index"]
        self._runtime, self._version, self._threads = runtime, version, threads
        self._artifact = artifact

    def run(self, photo: Tensor) -> Tensor:
        """Return the output (1, classes) for an input (1, H, W, C)."""
        self._interpreter.set_tensor(self._input, photo)
        self._interpreter.invoke()
        output: Tensor = self._interpreter.get_tensor(self._output)
        return output

    def input_shape(self) -> tuple[int, ...]:
        """Return the input's shape, batch included."""
        return tuple(int(size) for size in self._interpreter.get_input_details()[0]["shape"])

    def execution(self) -> Execution:
        """Return the delegate's share, as far as the interpreter tells."""
        operators, partitions, delegated = _delegation(self._interpreter)
        halves = bool(partitions) and has_half_arithmetic() and _is_marked(self._artifact)
        return Execution(
            runtime=self._runtime,
            version=self._version,
            threads=self._threads,
            delegate="XNNPACK" if partitions else None,
            operators=operators,
            delegated=delegated,
            partitions=partitions,
            options={"arithmetic": "float16"} if halves else {},
        )

    def timed(self, photo: Tensor) -> list[TimedOperation]:
        """Return nothing: the interpreter that both packages have in common gives no operator times."""
        del photo
        return []

    def operations(self) -> list[Operation]:
        """Return the artifact's operations with the types that the interpreter tells of their tensors."""
        details = getattr(self._interpreter, "_get_ops_details", None)
        if details is None:
            return []
        tensors = {t["index"]: t for t in self._interpreter.get_tensor_details()}
        operations = (operation_of(op, tensors) for op in details() if op["op_name"] != "DELEGATE")
        return [operation for operation in operations if operation is not None]


def _is_marked(artifact: Path) -> bool:
    with artifact.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(HALF_MARK[1]) >= 0 and data.find(HALF_MARK[0].encode()) >= 0


def operation_of(op: Any, tensors: dict[int, Any]) -> Operation | None:
    """Return an operator of a file with the types that the interpreter tells of its tensors.

    Args:
        op: The operator, as the interpreter describes it.
        tensors: The descriptions of the tensors by their indices.

    Returns:
        The operator; None for a weight that the runtime unpacks once.
    """
    inputs = [np.dtype(tensors[int(t)]["dtype"]) for t in op["inputs"] if int(t) in tensors]
    output = np.dtype(tensors[int(op["outputs"][0])]["dtype"])
    kind = op["op_name"]
    if np.dtype(np.float16) in inputs:
        return None
    if kind in ("QUANTIZE", "DEQUANTIZE") and inputs[0] != output:
        return Operation(kind=kind, precision=f"{inputs[0]} to {output}", role="conversion", product=False)
    product = kind in PRODUCTS
    work = _multiply_accumulates(op, tensors) if product else None
    made = partial(
        Operation,
        kind=kind,
        product=product,
        multiply_accumulates=work,
        rank=max(len(tensors[int(t)]["shape"]) for t in (*op["inputs"], *op["outputs"]) if int(t) in tensors),
        weights=_scales(op, tensors) if product else None,
    )
    if output in INTEGERS:
        return made(precision=str(output), role="integer")
    if product and np.dtype(np.int8) in inputs:
        return made(precision="int8, ranges of each photo", role="integer")
    return made(precision=str(output), role="float")


def _scales(op: Any, tensors: dict[int, Any]) -> ScaleKind | None:
    """Return for what a product's integer weights have scales; None for weights in float."""
    kernel = tensors[int(op["inputs"][1])]
    if np.dtype(kernel["dtype"]) not in INTEGERS:
        return None
    if _has_blocks(kernel):
        return "per group"
    outputs = kernel["shape"][-1 if op["op_name"] == "DEPTHWISE_CONV_2D" else 0]
    return "per channel" if len(kernel["quantization_parameters"]["scales"]) == outputs else "per tensor"


def _has_blocks(kernel: Any) -> bool:
    """Whether a kernel has a scale for each block of inputs, as those of 4 bits have."""
    return bool(kernel["quantization_parameters"].get("block_size"))


def _multiply_accumulates(op: Any, tensors: dict[int, Any]) -> int:
    """Count the results times what each sums; kernels are (outputs, h, w, inputs), depthwise (1, h, w, channels)."""
    kernel = [int(size) for size in tensors[int(op["inputs"][1])]["shape"]]
    results = prod(int(size) for size in tensors[int(op["outputs"][0])]["shape"])
    return results * prod(kernel[1:-1] if op["op_name"] == "DEPTHWISE_CONV_2D" else kernel[1:])


def contents(interpreter_class: Any, artifact: Path) -> Contents:
    """Return what a .tflite file holds, without allocating its tensors."""
    try:
        with native_log():
            interpreter = interpreter_class(model_path=str(artifact))
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{artifact}: cannot be loaded ({brief(error)})") from error
    told = read_metadata(artifact)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    norms = told.normalizations if len(told.normalizations) == len(inputs) else (None,) * len(inputs)
    labels = told.labels if len(told.labels) == len(outputs) else (None,) * len(outputs)
    return Contents(
        inputs=tuple(replace(_end(one), normalization=norm) for one, norm in zip(inputs, norms, strict=True)),
        outputs=tuple(replace(_end(one), labels=text) for one, text in zip(outputs, labels, strict=True)),
        weights=_weights(interpreter),
    )


def _end(detail: Any) -> End:
    scale, zero_point = detail["quantization"]
    known = bool(scale) and np.issubdtype(detail["dtype"], np.integer)
    return End(
        name=str(detail["name"]),
        shape=_open_shape(detail),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if known else None,
        zero_point=int(zero_point) if known else None,
    )


def _open_shape(detail: Any) -> tuple[int, ...]:
    """Return the shape of an input or output, -1 where it is open."""
    shape, signature = detail["shape"], detail["shape_signature"]
    return tuple(int(size) for size in (signature if len(signature) == len(shape) else shape))


def _weights(interpreter: Any) -> dict[Precision, int]:
    """Count the weights of products by the precision in which they compute."""
    tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    unpacked = {int(op["outputs"][0]): int(op["inputs"][0]) for op in operators if op["op_name"] == "DEQUANTIZE"}
    counts: Counter[Precision] = Counter()
    for op in operators:
        if op["op_name"] not in PRODUCTS or len(op["inputs"]) < 2:
            continue
        photo, kernel = (tensors.get(int(index)) for index in op["inputs"][:2])
        if photo is None or kernel is None:
            continue
        stored = tensors.get(unpacked.get(int(kernel["index"]), -1), kernel)
        integers = np.issubdtype(stored["dtype"], np.integer)
        precision: Precision = "fp16" if stored["dtype"] == np.float16 else "dynamic" if integers else "fp32"
        if stored is kernel and integers and np.issubdtype(photo["dtype"], np.integer):
            precision = "int8"
        if _has_blocks(stored):
            precision = "w4"
        counts[precision] += prod(int(size) for size in stored["shape"])
    return dict(counts)


def read_tensors(interpreter_class: Any, resolver: Any, artifact: Path, photo: Tensor) -> dict[str, FloatArray]:
    """Return every tensor of one inference by name, as real values, from the built-in kernels, which keep them.

    Raises:
        BundleError: The built-in kernels cannot run the artifact.
    """
    try:
        with native_log():
            interpreter = interpreter_class(
                model_path=str(artifact),
                experimental_op_resolver_type=resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{artifact}: the built-in kernels do not run it ({brief(error)})") from error
    made = {int(t) for op in interpreter._get_ops_details() for t in op["outputs"]}
    tensors: dict[str, FloatArray] = {}
    for detail in interpreter.get_tensor_details():
        if detail["index"] in made and detail["dtype"] in (np.float32, np.int8):
            # The output and the node before it may share a name: the later one is the output.
            tensors[detail["name"]] = _real(interpreter.get_tensor(detail["index"]), detail["quantization"])
    return tensors


def constants(interpreter_class: Any, resolver: Any, artifact: Path) -> dict[str, Tensor]:
    """Return the constants by the numbers and names of their tensors, and the scales of all tensors beside them."""
    with native_log():
        interpreter = interpreter_class(
            model_path=str(artifact), experimental_op_resolver_type=resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        # Tensors that kernels need for themselves come with the allocation, and hold whatever is in memory.
        details = interpreter.get_tensor_details()
        interpreter.allocate_tensors()
    made = {int(t) for op in interpreter._get_ops_details() for t in op["outputs"]}
    made |= {int(one["index"]) for one in interpreter.get_input_details()}
    found: dict[str, Tensor] = {}
    for detail in details:
        name = f"{detail['index']} {detail['name']}"
        scales = np.asarray(detail["quantization_parameters"]["scales"])
        if scales.size:
            found[f"{name}, scales"] = scales
        if int(detail["index"]) not in made:
            found[name] = np.array(interpreter.get_tensor(detail["index"]))
    return found


def _real(values: Tensor, quantization: tuple[float, int]) -> FloatArray:
    scale, zero_point = quantization
    if values.dtype != np.int8:
        return np.asarray(values, dtype=np.float32)
    return np.asarray((values.astype(np.float32) - zero_point) * np.float32(scale))


def _delegation(interpreter: Any) -> tuple[int | None, int | None, int | None]:
    """Return the number of operators in the artifact, of partitions, and of delegated operators.

    A delegate's kernel is listed after the artifact's own operators, once for each partition. The delegated operators
    are found by following tensors back from each partition's outputs to its inputs.
    """
    details = getattr(interpreter, "_get_ops_details", None)
    if details is None:
        return None, None, None
    own, partitions = partitioned(details())
    return len(own), len(partitions), sum(len(places) for places in partitions)


def partitioned(operators: list[Any]) -> tuple[list[Any], list[list[int]]]:
    """Return the artifact's own operators, and the places among them that each partition of the delegate took.

    Args:
        operators: What the interpreter tells of its operators, the delegate's kernels included.
    """
    own = [op for op in operators if op["op_name"] != "DELEGATE"]
    kernels = [op for op in operators if op["op_name"] == "DELEGATE"]
    maker = {int(tensor): index for index, op in enumerate(own) for tensor in op["outputs"]}
    covered: set[int] = set()
    partitions = []
    for kernel in kernels:
        inputs = {int(tensor) for tensor in kernel["inputs"]}
        pending = [int(tensor) for tensor in kernel["outputs"]]
        mine: list[int] = []
        while pending:
            index = maker.get(pending.pop())
            if index is None or index in covered:
                continue
            covered.add(index)
            mine.append(index)
            pending += [int(t) for t in own[index]["inputs"] if int(t) not in inputs]
        partitions.append(sorted(mine))
    return own, partitions
