"""A check as a badge, such as "int8 agreement | 99.1 %", drawn without a network."""

from __future__ import annotations

from html import escape

from xedge.checking.judging import Verdict
from xedge.checking.report import CheckedBundle, CheckReport

# By this attribute a file is known that xedge wrote before.
MARK = 'data-made-by="xedge check"'
# On white text, each has a contrast of at least 4.5 to 1.
COLOURS: dict[Verdict, str] = {"met": "#2c7a1f", "not met": "#b3261e", "undecided": "#8a5a00", "skipped": "#5a5a5a"}
# The width of a letter of 11 pixels, on average, and the space around a text.
LETTER, SPACE, HEIGHT = 6.6, 10, 20


def badge(report: CheckReport) -> str:
    """Return the SVG of the bundle that is worst: the one with the least agreement of those with the worst verdict."""
    subject, words = _words(report)
    left, right = (round(len(text) * LETTER + SPACE) for text in (subject, words))
    title = escape(f"{subject}: {words} ({report.verdict})")
    boxes = f'<rect width="{left}" height="{HEIGHT}" fill="#444"/>'
    boxes += f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[report.verdict]}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {MARK} width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{title}"><title>{title}</title>{boxes}'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{_text(left / 2, left - SPACE, subject)}{_text(left + right / 2, right - SPACE, words)}</g></svg>\n"
    )


def _text(middle: float, width: float, words: str) -> str:
    return f'<text x="{middle:g}" y="14" textLength="{width:g}" lengthAdjust="spacingAndGlyphs">{escape(words)}</text>'


def _words(report: CheckReport) -> tuple[str, str]:
    """Return what stands left and right: an agreement where there is one, and otherwise the verdict."""
    worst = [one for one in report.bundles if one.verdict == report.verdict]
    measured = [(one.closeness.agreement.agreement, one) for one in worst if one.closeness is not None]
    if not measured or any(one.error is not None for one in worst):
        return "xedge check", report.verdict
    share, bundle = min(measured, key=lambda one: (one[0], _quantized(one[1])))
    return f"{bundle.name} agreement", f"{100 * share:.1f} %"


def _quantized(bundle: CheckedBundle) -> bool:
    return not bundle.name.endswith("int8")
