"""ONNX Runtime, on its CPU kernels, CUDA or TensorRT."""

from xedge.runtimes import Runtime, Wheel

# The name and value of an entry in the metadata of files that compute in half precision.
HALF_MARK = ("arithmetic", "float16")

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
