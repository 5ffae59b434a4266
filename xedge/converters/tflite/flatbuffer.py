"""Build a TFLite flatbuffer: tensors, operators and a signature, with the schema that ai-edge-litert carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from xedge.memory import give_memory_back

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}
# The largest vector kernels load 16 bytes at a time; the schema asks for this alignment, the Python packer ignores it.
BUFFER_ALIGNMENT = 16
# Constants of more bytes than this have buffers of their own.
LARGEST_SHARED = 1 << 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization:
    """real = scale * (integer - zero_point), per tensor or along ``axis``."""

    scales: np.ndarray
    zero_points: np.ndarray
    axis: int = 0


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A buffer whose bytes start at a multiple of 16."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the flatbuffers API's name
        data = None if self.data is None else np.ascontiguousarray(self.data).view(np.uint8).reshape(-1)
        vector = None if data is None else _aligned_vector(builder, data)
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def _aligned_vector(builder: Any, data: np.ndarray) -> Any:
    builder.StartVector(1, len(data), BUFFER_ALIGNMENT)
    builder.head = builder.head - len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data.data
    return builder.EndVector()


class TfliteBuilder:
    """One subgraph in the making; tensors are integers, as in the format."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._subgraph = schema.SubGraphT()
        self._subgraph.name = name
        self._subgraph.tensors, self._subgraph.operators = [], []
        self._buffers: list[Any] = [schema.BufferT()]
        self._metadata: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._shared: dict[bytes, int] = {}
        self._bytes = 0

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        quantization: Quantization | None = None,
        data: np.ndarray | None = None,
    ) -> int:
        """Add a tensor, constant if it has data, and return its index."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), TYPES[np.dtype(dtype)]
        tensor.buffer = 0
        if data is not None:
            tensor.buffer = self._buffer(np.ascontiguousarray(data, dtype))
        if quantization is not None:
            tensor.quantization = _parameters(quantization)
        self._subgraph.tensors.append(tensor)
        self._shapes.append(shape)
        return len(self._shapes) - 1

    def _buffer(self, data: np.ndarray) -> int:
        """Return the index of the buffer with these bytes; constants that are equal, such as biases of 0, share one."""
        key = data.tobytes() if data.nbytes <= LARGEST_SHARED else None
        if key is not None and key in self._shared:
            return self._shared[key]
        buffer = _AlignedBuffer()
        buffer.data = data
        self._buffers.append(buffer)
        self._bytes += data.nbytes
        if key is not None:
            self._shared[key] = len(self._buffers) - 1
        return len(self._buffers) - 1

    def four_bit_kernel(self, name: str, values: np.ndarray, scales: np.ndarray) -> int:
        """Add a constant of 4-bit integers with a scale for each block of inputs, and return its index.

        Args:
            name: The name of the tensor.
            values: The integers (outputs, inputs) from -8 to 7, int8. The number of inputs is even.
            scales: The scales (outputs, blocks) float16, each for the same number of inputs that follow each other.
        """
        outputs, inputs = values.shape
        halves = values.astype(np.uint8).reshape(outputs, -1, 2) & 0xF
        packed = halves[..., 0] | halves[..., 1] << 4
        details = schema.BlockwiseQuantizationT()
        details.scales = self.tensor(f"{name}#scales", scales.shape, np.float16, data=scales)
        details.blockSize, details.zeroPoints = inputs // scales.shape[1], -1
        kernel = self.tensor(name, (outputs, inputs), np.uint8, data=packed)
        stored = self._subgraph.tensors[kernel]
        stored.type, stored.quantization = schema.TensorType.INT4, schema.QuantizationParametersT()
        stored.quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
        stored.quantization.details = details
        return kernel

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape, batch included."""
        return self._shapes[tensor]

    def operator(self, code: str, version: int, inputs: list[int], output: int, options: Any = None) -> int:
        """Add an operator (``CONV_2D``, ...) and return its output tensor."""
        number = getattr(schema.BuiltinOperator, code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault((number, version), len(self._codes))
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self._subgraph.operators.append(operator)
        return output

    def note(self, name: str, value: bytes) -> None:
        """Add an entry to the file's metadata."""
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer, buffer.data = name, len(self._buffers), np.frombuffer(value, np.uint8)
        self._buffers.append(buffer)
        self._metadata.append(entry)

    def serialized(self, inputs: dict[str, int], outputs: dict[str, int], description: str) -> bytes:
        """Return the file's bytes, with the signature ``serving_default`` over the named tensors."""
        self._subgraph.inputs = np.array(list(inputs.values()), np.int32)
        self._subgraph.outputs = np.array(list(outputs.values()), np.int32)
        model = schema.ModelT()
        model.version, model.description = 3, description
        model.subgraphs, model.buffers = [self._subgraph], self._buffers
        model.operatorCodes = [_operator_code(number, version) for number, version in self._codes]
        model.signatureDefs = [_signature(inputs, outputs)]
        model.metadata = self._metadata or None
        # Growing would copy the whole file into a buffer of twice its size.
        builder = flatbuffers.Builder(self._bytes + (1 << 20) + 4096 * len(self._shapes))
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        give_memory_back()  # the weights were read and the file is about to be copied
        return bytes(memoryview(builder.Bytes)[builder.Head() :])


def _parameters(quantization: Quantization) -> Any:
    parameters = schema.QuantizationParametersT()
    parameters.scale = quantization.scales.astype(np.float32)
    parameters.zeroPoint = quantization.zero_points.astype(np.int64)
    parameters.quantizedDimension = quantization.axis
    return parameters


def _operator_code(number: int, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = number, version
    # Readers from before the field grew past 127 codes look at the old one.
    code.deprecatedBuiltinCode = min(number, 127)
    return code


def _signature(inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = ([_map(*item) for item in side.items()] for side in (inputs, outputs))
    return signature


def _map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
