"""Make a bundle again from its manifest."""

from __future__ import annotations

from pathlib import Path

from xedge.bundle.opening import opened
from xedge.conversion.options import ReproduceOptions, taking
from xedge.inspection.reproduction import Reproduction, reproduce_bundle


@taking(ReproduceOptions)
def reproduce(options: ReproduceOptions) -> Reproduction:
    """Make a bundle again from what its manifest says, and tell whether it has the same bytes, or what drifted.

    Returns:
        Which files have the same bytes, what is not as it was when the bundle was made, and how far the artifacts
        differ.

    Raises:
        UnsupportedError: The manifest does not hold what is needed: the bundle was wrapped, or made by an older xedge.
        InputError: What the bundle was made of is not where it was.
        UsageError: The model was in memory and no file of it is named, or it brings code, which is not allowed.
        XedgeError: The bundle is damaged, or the model cannot be converted.
    """
    with opened(Path(options.bundle)) as bundle:
        return reproduce_bundle(bundle, options)
