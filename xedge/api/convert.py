"""Convert a model, as ``xedge convert`` does."""

from __future__ import annotations

from xedge.conversion import pipeline
from xedge.conversion.options import ConvertOptions, taking
from xedge.conversion.pipeline import Converted


@taking(ConvertOptions)
def convert(options: ConvertOptions) -> list[Converted]:
    """Make a bundle for each target and precision.

    Returns:
        The bundles, in the order of the targets and then the precisions.

    Raises:
        XedgeError: Something cannot be read, converted or written; the message says what, where, and what to do.
    """
    return pipeline.convert(options)
