"""Find the bundles that were released last, each beside the new bundle that takes its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xedge.bundle.opening import opened
from xedge.bundle.reading import MANIFEST
from xedge.errors import InputError


def find_baselines(path: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return the baseline's bundle for each artifact that has one.

    Args:
        path: A bundle, which every artifact is compared with, or a folder of bundles, of which each artifact is
            compared with that of its own target, precision and ranges.
        names: The artifacts' names, as ``Manifest.artifact_name`` has them.

    Raises:
        InputError: There is no bundle for any of the artifacts, or two for one of them.
        BundleError: A bundle is damaged.
    """
    names = list(names)
    if _is_bundle(path):
        with opened(path):
            return dict.fromkeys(names, path)
    found: dict[str, Path] = {}
    for place in sorted(one for one in path.iterdir() if _is_bundle(one)):
        with opened(place) as bundle:
            name = bundle.manifest.artifact_name
        if name in found:
            raise InputError(
                f"{path}: has two bundles for {name}, {found[name].name} and {place.name}; keep one of them"
            )
        found[name] = place
    if not set(found) & set(names):
        there = ", ".join(found) or "no bundle"
        raise InputError(
            f"{path}: has {there}, and none of {', '.join(names)}; name the bundles that were released last"
        )
    return {name: found[name] for name in names if name in found}


def _is_bundle(path: Path) -> bool:
    return (path / MANIFEST).is_file() or path.suffix == ".zip"
