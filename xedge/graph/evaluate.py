"""Run the reference graph on ONNX Runtime, with any of its tensors as outputs."""

from __future__ import annotations

import numpy as np
import onnxruntime

from xedge.graph.ir import Graph
from xedge.graph.onnx import SharingWriter, serialized, shared_model
from xedge.types import FloatArray


class Evaluator:
    """The float reference, ready to run.

    Args:
        graph: The graph to run.
        tensors: The names of the tensors to return in addition to the output.
        few: Whether only a few photos follow. This saves the reordered copies of the weights, but takes half again as
            long.
        writer: The writer of this graph, if it is to compute something else than the graph alone; None writes the graph
            as it is.
    """

    def __init__(
        self, graph: Graph, tensors: tuple[str, ...] = (), *, few: bool = False, writer: SharingWriter | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        if few:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        # The rounding of a simulator has to be computed exactly as it is written.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        # Other threads compute at the same time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena would keep twice the memory that the largest photo needed.
        options.enable_cpu_mem_arena = False
        # The input is already available; ONNX Runtime would only copy it.
        self._wanted = [name for name in tensors if name != graph.input.name]
        model, weights = shared_model(graph, self._wanted, writer)
        # The session reads the arrays of the graph, so they have to exist as long as the session does.
        self._weights = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), self._weights)
        self._graph = graph
        self._session = onnxruntime.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])

    def output(self, photos: FloatArray) -> FloatArray:
        """Return the output (N, classes) for preprocessed photos (N, H, W, C)."""
        run = self._session.run([self._graph.output], {self._graph.input.name: _nchw(photos)})
        result: FloatArray = run[0]
        return result

    def tensors(self, photos: FloatArray) -> dict[str, FloatArray]:
        """Return the requested tensors by name for preprocessed photos (N, H, W, C); channels are their second axis."""
        feed = _nchw(photos)
        values = self._session.run(self._wanted, {self._graph.input.name: feed})
        # ONNX has the channels of (height, width, channels) first already; those of tokens and the like are last.
        first = (value if value.ndim in (2, 4) else np.moveaxis(value, -1, 1) for value in values)
        return {self._graph.input.name: feed, **dict(zip(self._wanted, first, strict=True))}


def _nchw(photos: FloatArray) -> FloatArray:
    return np.ascontiguousarray(photos.transpose(0, 3, 1, 2), dtype=np.float32)
