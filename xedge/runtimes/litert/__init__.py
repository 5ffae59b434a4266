"""ai-edge-litert, the successor of tflite-runtime."""

from xedge.runtimes import Runtime, Wheel

RUNTIME = Runtime(
    name="litert",
    package="ai-edge-litert",
    import_name="ai_edge_litert",
    session="xedge.runtimes.litert.session",
    suffixes=(".tflite",),
    rank=10,
    wheel=Wheel(probe="ai_edge_litert.interpreter", glibc=(2, 34)),
)
