"""Compare bundles with each other and with the model that they were made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from xedge.bundle.opening import opened, photos_for
from xedge.bundle.reading import Bundle
from xedge.errors import InputError, parameter
from xedge.inspection.verification import (
    BundleMember,
    Member,
    OriginalMember,
    Thresholds,
    Truth,
    VerifyReport,
    find_original,
    names_of,
    original_of,
    same_model,
)
from xedge.inspection.verification import verify as compare_members
from xedge.measuring.run import bundle_truth
from xedge.measuring.starting import RunOptions
from xedge.types import UInt8Array

Report = Callable[[str], None]
Pathlike = str | Path


def verify(
    *bundles: Pathlike,
    data: Pathlike | None = None,
    truth: Pathlike | None = None,
    limit: int | None = None,
    model: Pathlike | None = None,
    min_agreement: float | None = None,
    max_difference: float | None = None,
    threads: int | None = None,
    provider: str | None = None,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
) -> VerifyReport:
    """Compare bundles of one model with each other and with the original model, and audit whether int8 is int8.

    Args:
        bundles: The bundles: folders or zips.
        data: The photos to compare on; None takes the golden photos in the bundle, or the embedded model's own.
        truth: A file with the classes of the photos; None if the photos have their own, or none.
        limit: The number of photos to take, chosen by a fixed seed; None takes all.
        model: The model's file, where it is not beside the bundles.
        min_agreement: The share of photos on which every pair must have the same first class, 0 to 1; None takes 0.95.
        max_difference: The greatest difference of a probability that is allowed, 0 to 1; None allows any.
        threads: The number of threads for one inference; None takes the number of cores, at most 4.
        provider: The processor or backend of the runtime; None takes its CPU.
        report: A function that is told what is left out.
        progress: A function that is told what is being done.

    Returns:
        The comparison. Its ``failures`` say in words what misses a threshold.

    Raises:
        InputError: The bundles are not of one model, or prepare photos differently, or something is demanded of pairs
            and there is none.
    """
    with ExitStack() as stack:
        open_ones = [stack.enter_context(opened(Path(path))) for path in bundles]
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        same_model(open_ones)
        original = _original(open_ones, None if model is None else Path(model), scratch, report)
        options = RunOptions(threads=threads, provider=provider)
        named = zip(names_of(open_ones), open_ones, strict=True)
        members = [*original, *(BundleMember(name, bundle, options) for name, bundle in named)]
        if len(members) < 2 and (min_agreement is not None or max_difference is not None):
            demanded = "min_agreement" if min_agreement is not None else "max_difference"
            raise InputError(
                f"{bundles[0]}: there is nothing to compare it with, as {parameter(demanded)} demands; give another "
                f"bundle, or the model's file by {parameter('model')}"
            )
        pixels, source, scored = _photos(open_ones[0], data, truth, limit)
        thresholds = Thresholds(max_difference=max_difference)
        if min_agreement is not None:
            thresholds = replace(thresholds, min_agreement=min_agreement)
        return compare_members(members, pixels, source, scored, thresholds, progress)


def _original(bundles: list[Bundle], model: Path | None, scratch: Path, report: Report) -> list[Member]:
    floats = [bundle for bundle in bundles if bundle.manifest.input.dtype == "float32"]
    original = find_original(bundles[0], model)
    name, package = original_of(bundles[0])
    if original is None and bundles[0].manifest.model.file_sha256 is None and bundles[0].manifest.wrapped:
        reason = "this artifact was wrapped without a reference, so its model is not known"
    elif original is None:
        reason = "the model's file is not beside the bundles; say where it is to compare with it"
    elif find_spec(package) is None:
        reason = f"{package} is not installed"
    elif not floats:
        reason = "no bundle with a float input"
    else:
        return [OriginalMember(name, original, floats[0].manifest.preprocessing, scratch)]
    report(f"{name:<10} left out: {reason}")
    return []


def _photos(
    bundle: Bundle, data: Pathlike | None, truth: Pathlike | None, limit: int | None
) -> tuple[list[UInt8Array], str, Truth]:
    folder, classes = (None if one is None else Path(one) for one in (data, truth))
    photos = photos_for(bundle, folder, limit, classes)
    if photos is None:
        return list(bundle.golden().pixels), "the bundle's golden photos", None
    if not photos.files:
        raise InputError(f"{data}: no photos")
    pixels = [bundle.manifest.preprocessing.pixels(file) for file in photos.files]
    scored = (bundle_truth(bundle, photos), bundle.labels) if photos.labelled else None
    return pixels, str(photos.root), scored
