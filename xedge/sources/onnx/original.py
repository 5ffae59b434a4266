"""The original of an ONNX model: ONNX Runtime on the file itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from xedge.errors import InputError, brief
from xedge.sources.onnx.file import OnnxFile, tensors
from xedge.types import FloatArray


class OnnxModel:
    """A model as ONNX Runtime computes it.

    Args:
        file: The file. One that computes in half precision is computed in float32, with the same weights, and of one
            that is quantized the float model that was restored.
    """

    def __init__(self, file: OnnxFile) -> None:
        self._file = file

    def output(self, photos: Iterable[FloatArray]) -> FloatArray:
        """Return outputs (N, classes) for preprocessed photos (H, W, C).

        Raises:
            InputError: ONNX Runtime does not take the file.
        """
        file = self._file
        half = file.dtype == np.float16
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = False
        rows = []
        try:
            given = in_float(file).SerializeToString() if half or file.restored else str(file.path)
            session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
            for photo in photos:
                feed = (photo.transpose(2, 0, 1) if file.channels_first else photo)[None]
                feed = np.ascontiguousarray(feed, np.float32 if half else file.dtype)
                rows.append(np.asarray(session.run(None, {file.photo: feed})[0], np.float32).reshape(1, -1))
        except Exception as error:  # ONNX Runtime has no exceptions in common
            raise InputError(f"{file.path}: ONNX Runtime does not take it ({brief(error)})") from error
        return np.concatenate(rows)


def in_float(file: OnnxFile) -> Any:
    """Return a copy of a model with all its values inside.

    Where it is in half precision, its weights, its types and its casts are in float32.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    for tensor in tensors(model):
        if external_data_helper.uses_external_data(tensor):
            tensor.CopyFrom(numpy_helper.from_array(file.array(tensor), tensor.name))
    if file.dtype != np.float16:
        return model
    del model.graph.value_info[:]
    for end in (*model.graph.input, *model.graph.output):
        if end.type.tensor_type.elem_type == TensorProto.FLOAT16:
            end.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(file.array(tensor).astype(np.float32), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT16:
                wide = numpy_helper.from_array(file.array(attribute.t).astype(np.float32))
                attribute.CopyFrom(helper.make_attribute(attribute.name, wide))
            elif attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    return model
