"""``xedge explain``."""

from __future__ import annotations

import argparse

from xedge.api.explain import explain, explain_on
from xedge.cli.console import Console, fields, percent
from xedge.cli.options import passed_on, refuse_idle
from xedge.cli.parser import commands_of, parser
from xedge.explaining.causes import Cause
from xedge.explaining.explanation import Explanation

# So many names of operations are shown of a cause; the JSON document has all of them.
SHOWN = 3


def main(options: argparse.Namespace) -> int:
    """Explain the latency of a bundle on this machine, or on another one."""
    console = Console(options.json, options.quiet)
    if options.on is not None:
        there = explain_on(
            options.on,
            options.bundle,
            against=options.against,
            wheels=options.wheels,
            arguments=passed_on(
                {"--threads": options.threads, "--runtime": options.runtime, "--provider": options.provider}
            ),
            report=console.stage,
        )
        console.result(there, text(there))
        return 0
    refuse_idle(options, commands_of(parser())["explain"], ("wheels",), "on this machine: it is for others, with --on")
    found = explain(
        options.bundle,
        against=options.against,
        threads=options.threads,
        runtime=options.runtime,
        provider=options.provider,
        progress=console.progress,
    )
    console.result(found, text(found))
    return 0


def text(found: Explanation) -> str:
    """Return where the time goes, and each cause with its reason and its cure."""
    lines = [
        ("bundle", f"{found.bundle}: {found.artifact}"),
        ("runs on", found.execution.described),
        ("p50", f"{found.p50_ms:.2f} ms"),
    ]
    if found.against is not None and found.ratio is not None:
        lines.append(("against", f"{found.ratio:.2f} of the time of {found.against}"))
    if found.timed_ms is None:
        lines.append(("time", "this runtime does not time operations; ai-edge-litert, onnxruntime and openvino do"))
    else:
        shares = (found.integer_share, found.float_share, found.conversion_share)
        integer, floating, converting = (percent(share or 0.0) for share in shares)
        lines.append(("time", f"{integer} in integers, {floating} in float, {converting} converting between them"))
    parts = [fields(lines)]
    parts += [_cause(number, cause) for number, cause in enumerate(found.causes, start=1)]
    if found.healthy:
        parts.append("Nothing to mend in the bundle: the artifact runs here as it is meant to.")
    return "\n\n".join(parts)


def _cause(number: int, cause: Cause) -> str:
    taken = "" if cause.ms is None else f": {cause.ms:.2f} ms"
    taken += "" if cause.share is None else f", {percent(cause.share)} of the time"
    lines = [f"{number}. {cause.kind}: {cause.words}{taken}"]
    if cause.layers:
        more = f", and {len(cause.layers) - SHOWN} more" if len(cause.layers) > SHOWN else ""
        lines.append(f"   where    {', '.join(cause.layers[:SHOWN])}{more}")
    lines += [f"   because  {cause.reason}", f"   cure     {cause.cure}", f"   worth    {_worth(cause)}"]
    return "\n".join(lines)


def _worth(cause: Cause) -> str:
    if cause.tried is not None and cause.worth_ms is not None:
        gained = f"{cause.worth_ms:.2f} ms" if cause.worth_ms > 0 else "nothing"
        return f"{gained} here, measured with {cause.tried}"
    return "not measured here" if cause.ms is None else f"at most {cause.ms:.2f} ms"
