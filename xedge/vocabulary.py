"""The names that users type, without importing anything heavy: ``xedge --help`` needs them."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp16", "dynamic", "int8"]
IoType = Literal["float32", "int8"]
Crop = Literal["none", "center"]

TARGETS = ("tflite",)
TARGET_ALIASES = {"litert": "tflite"}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "dynamic", "int8")
SCHEMES = ("tf", "torch", "caffe", "unit", "raw")
COMPACT = "xception_compact"
# Built-in networks, and the preprocessing that their published weights were trained with.
BUILT_IN = {"xception": "tf", "inception_v3": "tf", "resnet50": "caffe"}
