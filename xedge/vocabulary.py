"""The names that users type, without importing anything heavy: ``xedge --help`` needs them."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16", "dynamic", "int8"]
IoType = Literal["float32", "int8", "uint8"]
Batch = int | Literal["dynamic"]
Crop = Literal["none", "center"]

# Stands in artifacts between the name of a node of the reference graph and what is only a part of it.
PART = "#"
TARGETS = ("tflite", "onnx", "openvino")
# Made only when asked for by name: "all" is for boards without an accelerator.
NAMED_TARGETS = ("tensorrt",)
TARGET_ALIASES = {"litert": "tflite", "onnxruntime": "onnx", "ov": "openvino", "trt": "tensorrt"}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "dynamic", "int8")
SCHEMES = ("tf", "torch", "caffe", "unit", "raw")
COMPACT = "xception_compact"
# Built-in networks, and the preprocessing that their published weights were trained with.
BUILT_IN = {"xception": "tf", "inception_v3": "tf", "resnet50": "caffe"}
