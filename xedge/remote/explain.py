"""Explain the latency of a bundle on another machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from xedge.explaining.explanation import Explanation
from xedge.remote.deploy import Package, deploy
from xedge.remote.ssh import Ssh


def explain_there(
    ssh: Ssh, package: Package, arguments: Sequence[str], report: Callable[[str], None] = lambda line: None
) -> Explanation:
    """Deploy a bundle to another machine and explain its latency there.

    Args:
        ssh: The connection to the machine.
        package: The bundle, and as a second one the bundle to time in turns with it, if there is one.
        arguments: More options of ``xedge explain`` there.
        report: A function that is called with one line of text for each stage.

    Raises:
        ConnectionLostError: The machine cannot be reached, or the connection was lost.
        XedgeError: The bundle does not run there; the error has the message and the exit code of that machine.
    """
    ready = deploy(ssh, package, report)
    bundle, *others = (one.root.name for one in package.bundles)
    folder, *other_folders = (f"@{folder}" for folder in ready.bundles)
    against = ("--against", *other_folders) if other_folders else ()
    report(f"explain    {bundle}")
    found, _ = ready.xedge(Explanation, "explain", folder, *against, *arguments)
    # The folders there have a digest appended to their names.
    return replace(found, bundle=bundle, against=others[0] if others else None)
