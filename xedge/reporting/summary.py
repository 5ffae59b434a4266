"""The verdicts of everything on a page in a few lines, for whoever reads no further."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xedge.evaluating.report import EvaluatedBundle, EvaluateReport
from xedge.reporting.figures import numbers
from xedge.reporting.gather import Entry, Gathered

# Of so many runs each is named; of more, there are the numbers alone.
MOST_NAMED = 4
GOOD = frozenset({"VALID", "PASSED", "met", "better"})
BAD = frozenset({"INVALID", "FAILED", "not met", "worse"})


@dataclass(frozen=True, kw_only=True)
class Line:
    """A verdict.

    Args:
        about: What it is about.
        verdict: The word of the verdict.
        words: What the verdict holds for, and by which figures.
    """

    about: str
    verdict: str
    words: str

    @property
    def tone(self) -> str:
        """The class of the style sheet: ``good``, ``bad`` or none."""
        return "good" if self.verdict in GOOD else "bad" if self.verdict in BAD else ""


def summary(found: Gathered) -> list[Line]:
    """Return the verdicts of what a page shows, in the order of the page."""
    lines = [
        Line(about="Recommendation", verdict=f"{one.target} {one.precision}", words="on the machine of the benchmark")
        for one in found.recommendations
    ]
    for evaluation in found.evaluations:
        lines += _evaluated(evaluation)
    lines += _accuracies(found)
    lines += _timings(found.entries)
    for one in found.verifications:
        failures = f", {len(one.failures)} failures" if len(one.failures) > 1 else ""
        lines.append(Line(about="Agreement", verdict=one.verdict.upper(), words=f"on {one.photos} photos{failures}"))
    if found.failures:
        lines.append(Line(about="Did not run", verdict="FAILED", words=", ".join(found.failures)))
    return lines


def _evaluated(one: EvaluateReport) -> Iterator[Line]:
    """Yield what an evaluation says of each bundle but its reference."""
    for bundle in one.bundles:
        if bundle.against is not None:
            verdict = bundle.against.verdict or "no budget"
            yield Line(about=f"Budget on {one.photos} photos", verdict=verdict, words=_drop(bundle))


def _drop(bundle: EvaluatedBundle) -> str:
    against = bundle.against
    assert against is not None
    if against.drop is not None:
        low, high = against.drop.interval95
        return f"{bundle.bundle}, drop {against.drop.points:+.2f} points [{low:.2f}, {high:.2f}]"
    low, high = (100 * bound for bound in against.agreement.interval95)
    return f"{bundle.bundle}, agreement {100 * against.agreement.agreement:.2f} % [{low:.2f}, {high:.2f}]"


def _accuracies(found: Gathered) -> Iterator[Line]:
    """Yield how the accuracy of the runs compares with that of the reference run, a line for each judgement."""
    compared = [one for one in found.entries if one.difference is not None]
    for judgement in ("worse", "within noise", "better"):
        those = [one for one in compared if one.difference is not None and one.difference.judgement == judgement]
        if those and found.reference is not None:
            few = len(compared) <= MOST_NAMED
            words = ", ".join(map(_points, those)) if few else f"runs {numbers([one.number for one in those])}"
            yield Line(about=f"Accuracy against {_named(found.reference)}", verdict=judgement, words=words)


def _points(entry: Entry) -> str:
    difference = entry.difference
    assert difference is not None
    low, high = difference.interval95
    return f"{_named(entry)} {difference.points:+.2f} points [{low:+.2f}, {high:+.2f}]"


def _named(entry: Entry) -> str:
    return f"{entry.number} {entry.name}"


def _timings(entries: Sequence[Entry]) -> Iterator[Line]:
    """Yield which timings can be quoted and which cannot."""
    for word in ("VALID", "INVALID"):
        those = [entry for entry in entries if entry.run.verdict.word == word]
        if those:
            few = len(entries) <= MOST_NAMED
            told = [f"{_named(one)} {one.run.latency.p50_ms:.2f} ms" for one in those]
            words = ", ".join(told) if few else f"runs {numbers([one.number for one in those])}"
            note = "; not to be quoted" if word == "INVALID" else ""
            yield Line(about="Time", verdict=word, words=f"{words}{note}")
