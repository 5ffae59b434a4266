"""The plugin that pytest finds where xedge is installed: the fixture ``xedge_budget``.

It is imported at the start of every pytest, so that it imports nothing but pytest; the rest comes with the first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xedge.checking.report import CheckedBundle


@pytest.fixture(scope="session")
def xedge_budget() -> Callable[..., CheckedBundle]:
    """Return a function that fails the test unless a bundle is shown to keep a budget.

    Its arguments are those of ``xedge.judge``, and what it returns is that function's result.
    """

    def keeps(*arguments: Any, **named: Any) -> CheckedBundle:
        __tracebackhide__ = True
        import xedge  # noqa: PLC0415 - what it needs takes half a second, and most tests need none of it

        found = xedge.judge(*arguments, **named)
        missed = [f"{one.verdict}: {one.words}" for one in found.judged if one.verdict != "met"]
        if missed:
            pytest.fail(
                "\n  ".join([f"{found.path} ({found.name}) is not shown to keep its budget", *missed]), pytrace=False
            )
        return found

    return keeps
