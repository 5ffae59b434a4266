"""Read back what commands wrote with ``--json``; every document names what it is and its version."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from xedge.codec import from_json, parse_json, to_json
from xedge.errors import BundleError, InputError
from xedge.files import check_file_writable, read_text, write_file

# The dataclass that each document is read as. Its module is imported when it is needed, because some need the host's
# packages.
KINDS = {
    "xedge.run/2": ("xedge.measuring.report", "RunReport"),
    "xedge.run-on/2": ("xedge.remote.run", "RemoteRun"),
    "xedge.run-fleet/1": ("xedge.remote.fleet_run", "FleetRun"),
    "xedge.evaluate/1": ("xedge.evaluating.report", "EvaluateReport"),
    "xedge.evaluate-plan/1": ("xedge.evaluating.report", "EvaluatePlan"),
    "xedge.verify/2": ("xedge.inspection.verification", "VerifyReport"),
    "xedge.analyze/1": ("xedge.inspection.analysis", "AnalyzeReport"),
    "xedge.reproduce/1": ("xedge.inspection.reproduction", "Reproduction"),
    "xedge.benchmark/2": ("xedge.measuring.recommendation", "BenchmarkReport"),
    "xedge.check/1": ("xedge.checking.report", "CheckReport"),
    "xedge.compare/2": ("xedge.measuring.comparison", "Comparison"),
    "xedge.explain/1": ("xedge.explaining.explanation", "Explanation"),
    "xedge.cost/1": ("xedge.inspection.costing", "Cost"),
    "xedge.bundle/1": ("xedge.conversion.pipeline", "BundleDocument"),
    "xedge.predict/1": ("xedge.api.model", "Predicted"),
    "xedge.doctor/1": ("xedge.doctor.examination", "Examination"),
}


def save(document: Any, path: str | Path) -> Path:
    """Write what ``run``, ``benchmark``, ``verify`` and the like returned to a JSON file, as ``--json`` does.

    Args:
        document: The report, which names its kind in ``schema``.
        path: The file, which is replaced if it exists. ``report`` and ``compare`` read it.

    Returns:
        The file.

    Raises:
        InputError: It is no report of xedge's.
        ResourceError: The file cannot be written.
    """
    if getattr(document, "schema", None) not in KINDS:
        raise InputError(f"{type(document).__name__}: is no report of xedge, such as `xedge.run` returns")
    file = Path(path)
    check_file_writable(file)
    write_file(file, (json.dumps(to_json(document), indent=2) + "\n").encode())
    return file


# The samples of a run of a day at 30 frames per second are less than a tenth of this.
LARGEST_DOCUMENT_BYTES = 1 << 30


def read_document(path: Path) -> Any:
    """Return what a JSON file of xedge holds, as the dataclass that its ``schema`` names.

    Raises:
        InputError: The file is missing, is not JSON, is of another kind or version, or has a wrong field.
    """
    try:
        data = parse_json(read_text(path, LARGEST_DOCUMENT_BYTES))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `xedge run BUNDLE --json FILE` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    except BundleError as error:
        raise InputError(f"{path}: {error}; give what `xedge run BUNDLE --json FILE` writes") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, str) or schema not in KINDS:
        raise InputError(f"{path}: {_foreign(data, schema)}; give what `xedge run BUNDLE --json FILE` writes")
    module, name = KINDS[schema]
    try:
        return from_json(getattr(importlib.import_module(module), name), data)
    except BundleError as error:
        raise InputError(f"{path}: {error}; write it again with this version of xedge") from error


def _foreign(data: Any, schema: object) -> str:
    if schema is not None:
        return f"is {str(schema)[:40]!r}, which this version of xedge does not read ({', '.join(KINDS)})"
    if isinstance(data, list):
        return "is a list, such as `xedge convert --json` writes, not a run"
    return "is no document of xedge ($.schema is missing)"
