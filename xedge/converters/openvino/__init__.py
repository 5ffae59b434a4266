"""OpenVINO: an intermediate representation of two files, ``.xml`` and ``.bin``."""

from xedge.converters import Target
from xedge.plugins import deferred
from xedge.quantization.rules import Rules

TARGET = Target(
    name="openvino",
    title="OpenVINO",
    suffix=".xml",
    aliases=("ov",),
    rank=30,
    layout="NCHW",
    precisions={
        "fp32": (None, None),
        "fp16": ("fp16, unpacked when it is compiled", None),
        "dynamic": ("int8 per output channel, unpacked when it is compiled", None),
        "int8": ("int8 per output channel", "uint8 per tensor"),
        "w4": (
            "4 bits per group, small kernels 8 bits, depthwise fp16, unpacked when it is compiled",
            None,
        ),
    },
    ends=("uint8",),
    batches=True,
    rules=Rules(pairs=True),
    freedom=0.1,  # OpenVINO computes in bfloat16 where the processor has it
    convert=deferred("xedge.converters.openvino.writer:convert"),
    library="xedge.converters.openvino.library",
    file_library="xedge.converters.openvino.file_library",
    colours=("#7a3e9d", "#d2a8ff"),
)
