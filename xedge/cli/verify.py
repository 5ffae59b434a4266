"""``xedge verify``."""

from __future__ import annotations

import argparse

from xedge.api.verify import verify
from xedge.cli.console import Console, fields, percent, table
from xedge.errors import CheckError
from xedge.inspection.verification import Pair, TensorDifference, Thresholds, VerifyReport
from xedge.runtimes.audit import Audit


def main(options: argparse.Namespace) -> int:
    """Compare bundles with each other and with Keras, and say whether int8 is int8."""
    console = Console(options.json, options.quiet)
    report = verify(
        *options.bundles,
        data=options.data,
        truth=options.truth,
        limit=options.limit,
        model=options.model,
        min_agreement=options.min_agreement,
        max_difference=options.max_difference,
        only_float=options.only_float,
        threads=options.threads,
        provider=options.provider,
        report=console.stage,
        progress=console.progress,
    )
    console.result(report, text(report))
    return CheckError.exit_code if report.failures else 0


def text(report: VerifyReport) -> str:
    """Return the report as a person reads it."""
    parts = [f"{report.photos} photos from {report.data}"]
    if report.members[0].accuracy is not None:
        scores = [[m.name, percent(m.accuracy.top1)] for m in report.members if m.accuracy is not None]
        parts.append(table(scores, ["artifact", "top-1"]))
    if report.pairs:
        parts.append(table([_pair(pair) for pair in report.pairs], PAIR_HEADER))
    audits = [(m.name, m.audit) for m in report.members if m.audit is not None]
    parts.append(table([[name, *audit_cells(found)] for name, found in audits], ["artifact", *AUDIT_HEADER]))
    parts.append(LEGEND)
    parts.append(_verdict(report))
    return "\n\n".join(parts)


def _verdict(report: VerifyReport) -> str:
    match report.verdict:
        case "failed":
            return "\n".join(["FAILED", *(f"  - {failure}" for failure in report.failures)])
        case "nothing compared":
            return "NOTHING COMPARED: there is one artifact; the table says how it is computed"
        case "passed":
            return f"PASSED: {demands_text(report.demands)}"


def demands_text(demands: Thresholds) -> str:
    """Return what was demanded of which pairs."""
    which = "every pair with a member in fp32" if demands.only_float else "every pair"
    difference = "" if demands.max_difference is None else f" and differs by at most {demands.max_difference:g}"
    return f"{which} agrees on at least {100 * demands.min_agreement:g} % of the photos{difference}"


PAIR_HEADER = ["pair", "agreement", "max diff", "mean diff", "logits, dB", "diverges at", "worst tensor"]


def _pair(pair: Pair) -> list[str]:
    outputs = pair.outputs
    noise = "equal" if outputs.logit_snr_db is None else f"{outputs.logit_snr_db:.1f}"
    parts = _difference(pair.parting) if pair.parting else f"nowhere ({pair.parting_db:g} dB)"
    figures = [percent(outputs.agreement), f"{outputs.max_difference:.2g}", f"{pair.mean_difference:.2g}", noise]
    return [f"{pair.first} : {pair.second}", *figures, parts, _difference(pair.worst)]


def _difference(difference: TensorDifference | None) -> str:
    if difference is None:
        return "none in common"
    decibels = "equal" if difference.snr_db is None else f"{difference.snr_db:.1f} dB"
    return f"{difference.tensor} ({decibels})"


LEGEND = (
    "products: convolutions and matrix products with weights, and the share of their arithmetic in integers\n"
    "integer ops, float ops: all operations that compute so, products included; conversions: steps between the two"
)
AUDIT_HEADER = ["runs on", "products", "integer ops", "float ops", "conversions", "delegate", "float math", "finding"]


def audit_cells(found: Audit) -> list[str]:
    """Return the audit's row of a table."""
    execution = found.execution
    products = found.integer_products + found.float_products
    share = f" ({100 * found.integer_share:.0f} %)" if found.integer_share is not None else ""
    delegate = "-"
    if execution.delegate is not None:
        delegate = f"{execution.delegate} {execution.delegated}/{execution.operators} in {execution.partitions}"
    return [
        f"{execution.runtime} {execution.provider}",
        f"{found.integer_products}/{products} integer{share}",
        str(found.integer),
        str(found.floating),
        str(found.conversions),
        delegate,
        execution.options.get("INFERENCE_PRECISION_HINT", "f32"),
        found.finding,
    ]


def audit_text(found: Audit) -> str:
    """Return an audit on its own: the row, and what is executed how often."""
    row = fields(list(zip(AUDIT_HEADER, audit_cells(found), strict=True)))
    kinds = [[kind, str(count)] for kind, count in found.kinds.items()]
    return "\n\n".join([row, LEGEND, *([table(kinds, ["operation", "executed"])] if kinds else [])])
