"""``xedge predict``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from xedge.api.model import Model, Predicted, Prediction, load
from xedge.cli.console import Console, percent, table
from xedge.errors import InputError
from xedge.photos.camera import camera_photo
from xedge.photos.labels import told_apart
from xedge.photos.sets import read_folder


def main(options: argparse.Namespace) -> int:
    """Print the top classes of each photo."""
    console = Console(options.json, options.quiet)
    sources = [source for named in options.photos for source in _sources(named)]
    found: list[Predicted] = []
    refusals: list[InputError] = []
    with load(options.bundle, threads=options.threads, runtime=options.runtime, provider=options.provider) as model:
        names = told_apart(model.labels)
        for place, source in enumerate(sources):
            console.progress(f"predict {place}/{len(sources)} photos")
            try:
                found.append(_predicted(model, source, options.top))
            except InputError as error:
                refusals.append(error)
    if found:
        console.result(found, table(_rows(found, names)))
    if refusals:
        others = f" ({len(refusals)} of {len(sources)} photos cannot be read)" if len(refusals) > 1 else ""
        raise InputError(f"{refusals[0]}{others}")
    return 0


def _sources(named: Path) -> list[Path | int]:
    """Return what a word names: a photo, those of a folder, those that match a pattern, or the number of a camera.

    Raises:
        InputError: A folder has no photos, or nothing matches a pattern.
    """
    if named.is_dir():
        return [file for file in read_folder(named).files if isinstance(file, Path)]
    if named.exists():
        return [named]
    if str(named).isdigit():
        return [int(str(named))]
    if has_magic(str(named)):
        matching: list[Path | int] = [Path(one) for one in sorted(glob(str(named), recursive=True))]  # noqa: PTH207
        if not matching:
            raise InputError(f"{named}: no file matches this pattern")
        return matching
    return [named]


def _predicted(model: Model, source: Path | int, top: int) -> Predicted:
    photo = camera_photo(source) if isinstance(source, int) else source
    name = f"camera {source}" if isinstance(source, int) else str(source)
    return Predicted(photo=name, classes=model.classify(photo, top))


def _rows(found: Sequence[Predicted], names: Sequence[str]) -> list[list[str]]:
    """Return a row for each photo: its name and its classes, whose labels and percentages stand below each other."""
    width = max(len(names[entry.index]) for one in found for entry in one.classes)
    return [[one.photo, *(_class(entry, names, width) for entry in one.classes)] for one in found]


def _class(entry: Prediction, names: Sequence[str], width: int) -> str:
    return f"{names[entry.index]:<{width}}  {percent(entry.probability):>8}"
