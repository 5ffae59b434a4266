"""Make a bundle of an artifact that others made, as ``xedge wrap`` does."""

from __future__ import annotations

from xedge.conversion.options import WrapOptions, taking
from xedge.conversion.pipeline import Converted
from xedge.wrapping import pipeline


@taking(WrapOptions)
def wrap(options: WrapOptions) -> Converted:
    """Make a bundle of a .tflite, .onnx or OpenVINO file of others, so that it can be run, compared and deployed.

    The file is copied as it is. Its inputs, outputs, quantization and metadata are read from it, its precision is found
    by its weights, and the photos of the self-test are answered by running it here.

    Returns:
        The bundle.

    Raises:
        UsageError: Something has to be said that the file does not tell; the message names the argument.
        UnsupportedError: It is not a classifier of photos.
        InputError: A file is missing or damaged, or the reference does not fit.
    """
    return pipeline.wrap(options)
