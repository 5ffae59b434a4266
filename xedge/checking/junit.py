"""A check as JUnit XML: a suite for each bundle, a case for each limit of its budget."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from xedge.checking.judging import Judged, Verdict
from xedge.checking.report import CheckedBundle, CheckReport
from xedge.untrusted import one_line

SUITES = "xedge check"
# The element that stands in a case with a verdict. An undecided budget is an error, for it is not a pass.
OUTCOMES: dict[Verdict, str] = {"not met": "failure", "undecided": "error", "skipped": "skipped"}


def junit(report: CheckReport) -> bytes:
    """Return the XML in UTF-8."""
    root = ET.Element("testsuites", name=SUITES)
    for bundle in report.bundles:
        _suite(root, report, bundle)
    _count(root, list(root.iter("testcase")))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(root: ET.Element, report: CheckReport, bundle: CheckedBundle) -> None:
    suite = ET.SubElement(root, "testsuite", name=_plain(f"{report.model} {bundle.name}"))
    if bundle.error is not None:
        case = ET.SubElement(suite, "testcase", classname=_plain(bundle.name), name="is made and runs", time="0")
        ET.SubElement(case, "error", type="error", message=_plain(bundle.error)).text = _plain(bundle.error)
    for one in bundle.judged:
        _case(suite, bundle.name, one)
    _count(suite, list(suite))


def _case(suite: ET.Element, name: str, one: Judged) -> None:
    title = one.budget if one.limit is None else f"{one.budget} = {one.limit:g}"
    case = ET.SubElement(suite, "testcase", classname=_plain(name), name=title, time="0")
    words = _plain(f"{one.verdict}: {one.words}")
    if one.verdict in OUTCOMES:
        kind = OUTCOMES[one.verdict]
        outcome = ET.SubElement(case, kind, message=words)
        if kind != "skipped":
            outcome.set("type", one.verdict)
            outcome.text = words
    else:
        ET.SubElement(case, "system-out").text = words


def _count(element: ET.Element, cases: list[ET.Element]) -> None:
    element.set("tests", str(len(cases)))
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(sum(case.find(kind) is not None for case in cases)))


def _plain(text: str) -> str:
    """Return text in one line, with no character that XML does not have."""
    return one_line(text).encode("utf-8", "backslashreplace").decode()
