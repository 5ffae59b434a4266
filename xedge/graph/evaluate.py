"""Run the reference graph on ONNX Runtime, with any of its tensors as outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime

from xedge.graph.ir import Graph
from xedge.graph.onnx import SharingWriter, serialized, shared_model
from xedge.types import FloatArray, Tensor


class FloatSession:
    """A session of ONNX Runtime that computes a model in float32 as it is written.

    Args:
        model: The ``onnx.ModelProto`` whose input is (N, C, H, W), without its weights.
        weights: The weights by name, as ``shared_model`` returns them.
        source: The name of the input.
        few: Whether only a few photos follow. This saves the reordered copies of the weights, but takes half again as
            long.
        at_once: Whether several threads call ``run`` at the same time, so that each call computes in one thread.
    """

    def __init__(
        self, model: Any, weights: Mapping[str, Tensor], source: str, *, few: bool = False, at_once: bool = False
    ) -> None:
        options = onnxruntime.SessionOptions()
        if few:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        if at_once:
            options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # The rounding of a simulator has to be computed exactly as it is written.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        # Other threads compute at the same time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The session reads the arrays of the graph, so they have to exist as long as the session does.
        self._weights = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), self._weights)
        # The arena would keep twice the memory of the whole tensors that are returned. Where none are, it holds little,
        # and the system does not have to clear the same memory again for each photo. A pattern of memory would take one
        # piece for all tensors of a call.
        options.enable_cpu_mem_arena = at_once
        options.enable_mem_pattern = not at_once
        self._source = source
        self._session = onnxruntime.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])

    def run(self, outputs: Sequence[str], photos: FloatArray) -> list[Any]:
        """Return the outputs of these names for preprocessed photos (N, C, H, W)."""
        found: list[Any] = self._session.run(list(outputs), {self._source: photos})
        return found


class Evaluator:
    """The float reference, ready to run.

    Args:
        graph: The graph to run.
        tensors: The names of the tensors to return in addition to the output.
        few: Whether only a few photos follow; see ``FloatSession``.
        writer: The writer of this graph, if it is to compute something else than the graph alone; None writes the graph
            as it is.
    """

    def __init__(
        self, graph: Graph, tensors: tuple[str, ...] = (), *, few: bool = False, writer: SharingWriter | None = None
    ) -> None:
        # The input is already available; ONNX Runtime would only copy it.
        self._wanted = [name for name in tensors if name != graph.input.name]
        self._graph = graph
        model, weights = shared_model(graph, self._wanted, writer)
        self._session = FloatSession(model, weights, graph.input.name, few=few)

    def output(self, photos: FloatArray) -> FloatArray:
        """Return the output (N, classes) for preprocessed photos (N, H, W, C)."""
        result: FloatArray = self._session.run([self._graph.output], nchw(photos))[0]
        return result

    def tensors(self, photos: FloatArray) -> dict[str, FloatArray]:
        """Return the requested tensors by name for preprocessed photos (N, H, W, C); channels are their second axis."""
        feed = nchw(photos)
        values = self._session.run(self._wanted, feed)
        found = {name: channels_second(value) for name, value in zip(self._wanted, values, strict=True)}
        return {self._graph.input.name: feed, **found}


def nchw(photos: FloatArray) -> FloatArray:
    """Return photos (N, H, W, C) as (N, C, H, W)."""
    return np.ascontiguousarray(photos.transpose(0, 3, 1, 2), dtype=np.float32)


def channels_second(tensor: FloatArray) -> FloatArray:
    """Return a tensor of a session with its channels as the second axis.

    ONNX has the channels of (height, width, channels) first already; those of tokens and the like are last.

    Args:
        tensor: The tensor, with the photos as the first axis.
    """
    return tensor if tensor.ndim in (2, 4) else np.moveaxis(tensor, -1, 1)
