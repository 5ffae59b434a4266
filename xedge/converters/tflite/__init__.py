"""TFLite, also called LiteRT: one flatbuffer with the graph and its weights."""

from xedge.converters import CONFORMANCE_NOISE, Target
from xedge.plugins import deferred
from xedge.quantization.rules import Rules

TARGET = Target(
    name="tflite",
    title="TFLite",
    suffix=".tflite",
    aliases=("litert",),
    rank=10,
    layout="NHWC",
    precisions={
        "fp32": (None, None),
        "fp16": ("fp16, unpacked when it is loaded", None),
        "dynamic": ("int8 per output channel, depthwise in float", "int8 per tensor, ranges of each photo"),
        "int8": ("int8 per output channel", "int8 per tensor"),
        "w4": (
            "4 bits per group of inputs, small kernels and those of several positions int8, photo's and depthwise fp16",
            "int8 per position, ranges of each photo",
        ),
    },
    ends=("int8",),
    in_half=(
        "fp16, unpacked when it is loaded",
        "half precision where the processor computes in it (Arm from Cortex-A55 and A75 on), else fp32",
    ),
    marks_half=True,
    freedom=0.05,  # half-precision arithmetic of Arm: 0.014 on 100 photos of the default
    noise={"w4": CONFORMANCE_NOISE["dynamic"]},  # it rounds activations, as dynamic does
    rules=Rules(dynamic_branches=True, float_averages=True, blocks=32),
    convert=deferred("xedge.converters.tflite.writer:convert"),
    library="xedge.converters.tflite.library",
    colours=("#1f5fbf", "#79b0ff"),
)
