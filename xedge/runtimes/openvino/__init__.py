"""OpenVINO, on the CPU plugin or another device."""

from xedge.runtimes import Runtime, Wheel

RUNTIME = Runtime(
    name="openvino",
    package="openvino",
    import_name="openvino",
    session="xedge.runtimes.openvino.session",
    suffixes=(".xml",),
    rank=40,
    providers=("cpu", "gpu", "npu"),
    wheel=Wheel(probe="openvino", glibc=(2, 28)),
)
