"""xedge: convert, quantize, run and measure convolutional image classifiers on edge devices.

    made = xedge.convert("model.keras", target="tflite", precision="int8", data="photos/")
    model = xedge.load(made[0].path)
    model.classify("photo.jpg")
    xedge.run(made[0].path, data="photos/").latency.p50_ms

Each name is imported when it is first used: ``import xedge`` alone takes a millisecond, and the device side needs none
of the host's packages.
"""

from __future__ import annotations

from xedge._version import __version__
from xedge.telemetry import turn_off

# Before anything of the runtimes is imported, for some of them decide then.
turn_off()

# Type checkers take a variable of this name for typing's, whose import would take longer than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from xedge.api.analyze import analyze, cost
    from xedge.api.benchmark import benchmark
    from xedge.api.check import check
    from xedge.api.compare import compare
    from xedge.api.convert import convert
    from xedge.api.documents import save
    from xedge.api.evaluate import evaluate, evaluate_plan
    from xedge.api.explain import explain, explain_on
    from xedge.api.judge import judge
    from xedge.api.model import Model, Prediction, load
    from xedge.api.report import report
    from xedge.api.reproduce import reproduce
    from xedge.api.run import run, run_fleet, run_on
    from xedge.api.verify import verify
    from xedge.api.wrap import wrap
    from xedge.bundle.manifest import Manifest
    from xedge.checking.report import CheckedBundle, CheckReport
    from xedge.conversion.pipeline import Converted
    from xedge.device.cooldown import Cooldown
    from xedge.errors import XedgeError
    from xedge.evaluating.report import EvaluatePlan, EvaluateReport
    from xedge.explaining.explanation import Explanation
    from xedge.inspection.analysis import AnalyzeReport
    from xedge.inspection.costing import Cost
    from xedge.inspection.reproduction import Reproduction
    from xedge.inspection.verification import VerifyReport
    from xedge.measuring.comparison import Comparison
    from xedge.measuring.recommendation import BenchmarkReport
    from xedge.measuring.report import RunReport
    from xedge.measuring.rounds import Plan
    from xedge.remote.failure import Failure
    from xedge.remote.fleet_run import FleetRun
    from xedge.remote.run import RemoteRun
    from xedge.runtimes import Execution

_MODULES = {
    "xedge.api.analyze": ("analyze", "cost"),
    "xedge.api.benchmark": ("benchmark",),
    "xedge.api.check": ("check",),
    "xedge.api.compare": ("compare",),
    "xedge.api.convert": ("convert",),
    "xedge.api.evaluate": ("evaluate", "evaluate_plan"),
    "xedge.api.documents": ("save",),
    "xedge.api.explain": ("explain", "explain_on"),
    "xedge.api.judge": ("judge",),
    "xedge.api.model": ("Model", "Prediction", "load"),
    "xedge.api.report": ("report",),
    "xedge.api.reproduce": ("reproduce",),
    "xedge.api.run": ("run", "run_fleet", "run_on"),
    "xedge.api.verify": ("verify",),
    "xedge.api.wrap": ("wrap",),
    "xedge.bundle.manifest": ("Manifest",),
    "xedge.checking.report": ("CheckReport", "CheckedBundle"),
    "xedge.conversion.pipeline": ("Converted",),
    "xedge.device.cooldown": ("Cooldown",),
    "xedge.errors": ("XedgeError",),
    "xedge.evaluating.report": ("EvaluatePlan", "EvaluateReport"),
    "xedge.explaining.explanation": ("Explanation",),
    "xedge.inspection.analysis": ("AnalyzeReport",),
    "xedge.inspection.costing": ("Cost",),
    "xedge.inspection.reproduction": ("Reproduction",),
    "xedge.inspection.verification": ("VerifyReport",),
    "xedge.measuring.comparison": ("Comparison",),
    "xedge.measuring.recommendation": ("BenchmarkReport",),
    "xedge.measuring.report": ("RunReport",),
    "xedge.measuring.rounds": ("Plan",),
    "xedge.remote.failure": ("Failure",),
    "xedge.remote.fleet_run": ("FleetRun",),
    "xedge.remote.run": ("RemoteRun",),
    "xedge.runtimes": ("Execution",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AnalyzeReport",
    "BenchmarkReport",
    "CheckReport",
    "CheckedBundle",
    "Comparison",
    "Converted",
    "Cooldown",
    "Cost",
    "EvaluatePlan",
    "EvaluateReport",
    "Execution",
    "Explanation",
    "Failure",
    "FleetRun",
    "Manifest",
    "Model",
    "Plan",
    "Prediction",
    "RemoteRun",
    "Reproduction",
    "RunReport",
    "VerifyReport",
    "XedgeError",
    "__version__",
    "analyze",
    "benchmark",
    "check",
    "compare",
    "convert",
    "cost",
    "evaluate",
    "evaluate_plan",
    "explain",
    "explain_on",
    "judge",
    "load",
    "report",
    "reproduce",
    "run",
    "run_fleet",
    "run_on",
    "save",
    "verify",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'xedge' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - as above

    try:
        module = importlib.import_module(_PLACES[name])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("xedge"):
            raise
        from xedge.errors import host_needed  # noqa: PLC0415 - as above

        raise host_needed(error.name) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
