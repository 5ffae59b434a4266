"""``xedge verify``."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from xedge.bundle import Bundle
from xedge.cli.console import Console, fields, percent, table
from xedge.cli.opening import opened, photos_for
from xedge.errors import CheckError, InputError
from xedge.runner import RunOptions, truth_of
from xedge.runtimes.audit import Audit
from xedge.types import UInt8Array
from xedge.verification import (
    BundleMember,
    KerasMember,
    Member,
    Pair,
    TensorDifference,
    Thresholds,
    Truth,
    VerifyReport,
    find_original,
    names_of,
    same_model,
    verify,
)


def main(options: argparse.Namespace) -> int:
    """Compare bundles with each other and with Keras, and say whether int8 is int8."""
    console = Console(options.json, options.quiet)
    with ExitStack() as stack:
        bundles = [stack.enter_context(opened(path)) for path in options.bundles]
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        same_model(bundles)
        members = _members(bundles, options, scratch, console)
        pixels, data, truth = _photos(bundles[0], options)
        report = verify(members, pixels, data, truth, _thresholds(options), console.progress)
    console.result(report, text(report))
    return CheckError.exit_code if report.failures else 0


def _members(bundles: list[Bundle], options: argparse.Namespace, scratch: Path, console: Console) -> list[Member]:
    run_options = RunOptions(threads=options.threads, provider=options.provider)
    members: list[Member] = []
    floats = [bundle for bundle in bundles if bundle.manifest.input.dtype == "float32"]
    original = find_original(bundles[0], options.model)
    if original is None:
        console.stage("keras      left out: its file is not beside the bundles; --model FILE names it")
    elif find_spec("keras") is None or not floats:
        console.stage("keras      left out: " + ("not installed" if floats else "no bundle with a float input"))
    else:
        members.append(KerasMember(original, floats[0].manifest.preprocessing, scratch))
    named = zip(names_of(bundles), bundles, strict=True)
    return [*members, *(BundleMember(name, bundle, run_options) for name, bundle in named)]


def _photos(bundle: Bundle, options: argparse.Namespace) -> tuple[list[UInt8Array], str, Truth]:
    photos = photos_for(bundle, options.data, options.limit)
    if photos is None:
        return list(bundle.golden().pixels), "the bundle's golden photos", None
    if not photos.files:
        raise InputError(f"{options.data}: no photos")
    pixels = [bundle.manifest.preprocessing.pixels(file) for file in photos.files]
    truth = (truth_of(photos, bundle), bundle.labels) if photos.labelled else None
    return pixels, str(photos.root), truth


def _thresholds(options: argparse.Namespace) -> Thresholds:
    return Thresholds(min_agreement=options.min_agreement / 100, max_difference=options.max_difference)


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
    failures = [f"  - {failure}" for failure in report.failures]
    parts.append("\n".join(["FAILED", *failures]) if failures else "PASSED")
    return "\n\n".join(parts)


PAIR_HEADER = ["pair", "agreement", "max diff", "mean diff", "logits, dB", "parts at", "worst tensor"]


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
    return f"{row}\n\n{table(kinds, ['operation', 'executed'])}" if kinds else row
