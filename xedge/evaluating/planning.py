"""Say on how many photos a drop could be proved, from what an evaluation has seen so far; nothing is evaluated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from xedge.codec import from_json, parse_json, to_json
from xedge.errors import BundleError, InputError
from xedge.evaluating.parts import FOLDER, Shelf
from xedge.evaluating.report import EvaluatePlan, PlannedBundle
from xedge.files import read_text, write_file
from xedge.metrics import photos_to_prove

INDEX = "evaluation.json"
LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Index:
    """What is evaluated in a folder of results; it is written before the first part.

    Args:
        schema: The kind of this document and its version.
        data: The folder, file or address of the photos.
        photos: The number of photos of the set.
        chunks: The number of chunks of the set.
        reference: The name of the bundle with which the others are compared.
        bundles: The folder of each bundle's parts, by the bundle's name.
    """

    schema: Literal["xedge.evaluation/1"] = "xedge.evaluation/1"
    data: str
    photos: int
    chunks: int
    reference: str
    bundles: dict[str, str]

    def shelf(self, output: Path, name: str) -> Shelf:
        """Return the parts of a bundle by its name."""
        return Shelf(folder=output / FOLDER / self.bundles[name])


def write_index(output: Path, index: Index) -> None:
    """Write what is evaluated in a folder of results."""
    write_file(output / INDEX, (json.dumps(to_json(index), indent=2) + "\n").encode())


def read_index(output: Path) -> Index:
    """Return what is evaluated in a folder of results.

    Raises:
        InputError: Nothing was evaluated there.
    """
    try:
        return from_json(Index, parse_json(read_text(output / INDEX, LARGEST_BYTES)))
    except (OSError, UnicodeDecodeError, BundleError) as error:
        raise InputError(
            f"{output}: has no results of an evaluation ({error}); `xedge evaluate BUNDLE... --data DATA --output "
            f"{output}` begins one"
        ) from error


def plan_of(output: Path, max_drop_points: float) -> EvaluatePlan:
    """Return the plan from the parts that are there.

    Args:
        output: The folder of an evaluation, finished or not.
        max_drop_points: The limit in percentage points.

    Raises:
        InputError: Nothing was evaluated there, or there is no other bundle than the reference, or no labelled photo.
    """
    index = read_index(output)
    others = [name for name in index.bundles if name != index.reference]
    if not others:
        raise InputError(f"{output}: only {index.reference} was evaluated; evaluate another bundle beside it")
    return EvaluatePlan(
        data=index.data,
        photos=index.photos,
        reference=index.reference,
        max_drop_points=max_drop_points,
        bundles=tuple(_planned(output, index, name, max_drop_points) for name in others),
    )


def _planned(output: Path, index: Index, name: str, max_drop_points: float) -> PlannedBundle:
    reference, own = index.shelf(output, index.reference), index.shelf(output, name)
    photos = lost = won = 0
    for chunk in range(index.chunks):
        digest = own.digest(chunk)
        if digest is None or digest != reference.digest(chunk):
            continue
        before, after = reference.read(chunk), own.read(chunk)
        seen = (after.truth >= 0) & (after.rows.top[:, 0] >= 0) & (before.rows.top[:, 0] >= 0)
        was, is_now = (one.rows.top[:, 0] == one.truth for one in (before, after))
        photos += int(seen.sum())
        lost += int(np.sum(seen & was & ~is_now))
        won += int(np.sum(seen & is_now & ~was))
    if not photos:
        raise InputError(f"{output}: no labelled photo was evaluated on {name} and {index.reference} yet; go on first")
    needed = photos_to_prove(lost, won, photos, max_drop_points)
    return PlannedBundle(bundle=name, photos=photos, lost=lost, won=won, photos_to_prove=needed)
