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
from xedge.runtimes.classifier import try_bundle
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
    only_float: bool = False,
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
        only_float: Whether this is demanded only of pairs with a member in float (fp32), and not of two quantized
            bundles.
        threads: The number of threads for one inference; None takes the number of cores, at most 4.
        provider: The processor or backend of the runtime; None takes its CPU.
        report: A function that is told what is left out.
        progress: A function that is told what is being done.

    Returns:
        The comparison. Its ``verdict`` is "passed", "failed" or "nothing compared", and its ``failures`` say in words
        what misses a threshold.

    Raises:
        InputError: The bundles are not of one model, or prepare photos differently, or something is demanded of pairs
            and there is none.
        UsageError: A threshold is not from 0 to 1.
    """
    thresholds = Thresholds(max_difference=max_difference, only_float=only_float)
    if min_agreement is not None:
        thresholds = replace(thresholds, min_agreement=min_agreement)
    with ExitStack() as stack:
        open_ones = [stack.enter_context(opened(Path(path))) for path in bundles]
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xedge-")))
        same_model(open_ones)
        options = RunOptions(threads=threads, provider=provider)
        for one in open_ones:
            try_bundle(one, options.settings(one), options.runtime)
        original = _original(open_ones, None if model is None else Path(model), scratch, report)
        named = zip(names_of(open_ones), open_ones, strict=True)
        members = [*original, *(BundleMember(name, bundle, options) for name, bundle in named)]
        given = {"only_float": only_float or None, "min_agreement": min_agreement, "max_difference": max_difference}
        _check_pairs(members, bundles[0], next((name for name, value in given.items() if value is not None), None))
        pixels, source, scored = _photos(open_ones[0], data, truth, limit)
        return compare_members(members, pixels, source, scored, thresholds, progress)


def _check_pairs(members: list[Member], first: Pathlike, demanded: str | None) -> None:
    """Refuse to judge pairs of which there is none.

    Args:
        members: All members.
        first: The first bundle.
        demanded: The name of the parameter that demands something of pairs; None if nothing was said.
    """
    if demanded is None:
        return
    if len(members) < 2:
        raise InputError(
            f"{first}: there is nothing to compare it with, as {parameter(demanded)} demands; give another bundle, or "
            f"the model's file by {parameter('model')}"
        )
    if demanded == "only_float" and all(member.precision != "fp32" for member in members):
        raise InputError(
            f"{first}: none of these bundles is fp32, as {parameter('only_float')} demands; give one that is, or the "
            f"model's file by {parameter('model')}"
        )


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
