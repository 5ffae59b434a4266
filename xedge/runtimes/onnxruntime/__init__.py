"""ONNX Runtime, on its CPU kernels, CUDA or TensorRT."""

from xedge.runtimes import Runtime, Wheel

RUNTIME = Runtime(
    name="onnxruntime",
    package="onnxruntime",
    import_name="onnxruntime",
    session="xedge.runtimes.onnxruntime.session",
    suffixes=(".onnx",),
    rank=30,
    providers=("cpu", "cuda", "tensorrt"),
    wheel=Wheel(probe="onnxruntime", glibc=(2, 27)),
)
