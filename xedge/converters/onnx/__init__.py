"""ONNX, for ONNX Runtime on any processor."""

from xedge.converters import Target
from xedge.plugins import deferred
from xedge.quantization.rules import Rules

TARGET = Target(
    name="onnx",
    title="ONNX",
    suffix=".onnx",
    aliases=("onnxruntime",),
    rank=20,
    layout="NCHW",
    precisions={
        "fp32": (None, None),
        "fp16": ("fp16, unpacked when it is loaded", None),
        "dynamic": ("int8 per output channel, depthwise in float", "uint8 per tensor, ranges of each photo"),
        "int8": ("int8 per output channel", "uint8 per tensor"),
        "w4": (
            "4 bits per group, small kernels 8 bits, depthwise fp16, unpacked when it is loaded",
            None,
        ),
    },
    in_half=(
        "fp16",
        "half precision where ONNX Runtime has kernels for it (Arm from Cortex-A55 and A75 on), else fp32",
    ),
    ends=("uint8",),
    batches=True,
    rules=Rules(pairs=True),
    convert=deferred("xedge.converters.onnx.writer:convert"),
    library="xedge.converters.onnx.library",
    file_library="xedge.converters.onnx.file_library",
    colours=("#b35900", "#ffa657"),
)
