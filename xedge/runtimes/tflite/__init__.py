"""tflite-runtime, for the systems that ai-edge-litert has no wheel for."""

from xedge.runtimes import Runtime, Wheel

RUNTIME = Runtime(
    name="tflite",
    package="tflite-runtime",
    import_name="tflite_runtime",
    session="xedge.runtimes.tflite.session",
    suffixes=(".tflite",),
    rank=20,
    wheel=Wheel(
        probe="tflite_runtime.interpreter",
        glibc=(2, 28),
        oldest_python=8,
        newest_python=11,
        machines=("x86_64", "aarch64", "armv7l"),
        numpy_1=True,
    ),
)
