"""xedge: convert, quantize, run and measure convolutional image classifiers on edge devices.

    made = xedge.convert("model.keras", target="tflite", precision="int8", data="photos/")
    model = xedge.load(made[0].path)
    model.classify("photo.jpg")
    xedge.run(made[0].path, data="photos/").latency.p50_ms

Each name is imported when it is first used: ``import xedge`` alone takes a millisecond, and the device side needs none
of the host's packages.
"""

from __future__ import annotations

__version__ = "0.1.0"

# Type checkers take a variable of this name for typing's, whose import would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from xedge.api.analyze import analyze, cost
    from xedge.api.convert import convert
    from xedge.api.inspect import verify
    from xedge.api.model import Model, Prediction, load
    from xedge.api.run import run, run_on
    from xedge.benchmarking import benchmark
    from xedge.comparison import compare
    from xedge.errors import XedgeError
    from xedge.reporting.report import report

__all__ = [
    "Model",
    "Prediction",
    "XedgeError",
    "__version__",
    "analyze",
    "benchmark",
    "compare",
    "convert",
    "cost",
    "load",
    "report",
    "run",
    "run_on",
    "verify",
]
_MODULES = {
    "xedge.api.analyze": ("analyze", "cost"),
    "xedge.api.convert": ("convert",),
    "xedge.api.inspect": ("verify",),
    "xedge.api.model": ("Model", "Prediction", "load"),
    "xedge.api.run": ("run", "run_on"),
    "xedge.benchmarking": ("benchmark",),
    "xedge.comparison": ("compare",),
    "xedge.errors": ("XedgeError",),
    "xedge.reporting.report": ("report",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'xedge' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - as above

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
