"""TensorRT, for a Jetson or another NVIDIA GPU: ONNX as TensorRT's parser wants it."""

from xedge.converters import Target
from xedge.plugins import deferred
from xedge.quantization.rules import Rules

TARGET = Target(
    name="tensorrt",
    title="TensorRT",
    suffix=".onnx",
    aliases=("trt",),
    rank=40,
    # "all" is for boards without an accelerator.
    by_name_only=True,
    layout="NCHW",
    precisions={
        "fp32": (None, None),
        "fp16": ("float16", "float16"),
        "int8": ("int8 per channel", "int8 per tensor, zero point 0"),
    },
    batches=True,
    rules=Rules(symmetric=True, pairs=True),
    convert=deferred("xedge.converters.tensorrt.writer:convert"),
    next_steps=deferred("xedge.converters.tensorrt.trtexec:next_steps"),
    colours=("#4b7a12", "#a5d86e"),
)
