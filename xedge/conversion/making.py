"""What a manifest keeps of the options with which a bundle was made, and these options made of it again."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from xedge.bundle.manifest import Making, Manifest
from xedge.codec import from_json, to_json
from xedge.conversion.options import ConvertOptions, ReproduceOptions
from xedge.converters import Form
from xedge.device.board import read_board
from xedge.errors import BundleError, InputError, UnsupportedError, UsageError, parameter
from xedge.photos.reading import check_named
from xedge.vocabulary import BUILT_IN, COMPACT, SCHEME_FILES

# Options whose values are places: what lies there is known by its sha256, wherever it is.
PHOTOS = ("calibration", "selection", "data")
PLACES = ("model", "weights", "preprocess", *PHOTOS, "truth", "labels")
# Options that the manifest says elsewhere, or that change no byte of a bundle.
NOT_KEPT = ("target", "precision", "ranges", "board", "output", "zipped", "report", "progress", "failed", "scored")
# Options without effect on artifacts of other precisions, with which they would be refused.
ONLY_INT8 = ("io", "max_drop_points", "min_agreement", "time_budget_s", "selection", "selection_count")
ONLY_HALF = ("arithmetic",)


def making_of(options: ConvertOptions, form: Form) -> Making:
    """Return what a bundle is made with, as far as the rest of the manifest does not say it.

    Args:
        options: The options of the conversion, which may make other bundles too.
        form: The form of the artifact as it was asked for.
    """
    idle = (() if form.precision == "int8" else ONLY_INT8) + (() if form.half else ONLY_HALF)
    given = {
        one.name: getattr(options, one.name)
        for one in fields(ConvertOptions)
        if one.name not in NOT_KEPT + idle and getattr(options, one.name) != one.default
    }
    in_memory = not isinstance(given.get("model", ""), str | os.PathLike)
    if in_memory:
        del given["model"]
    board = read_board()
    return Making(
        precision=form.precision,
        ranges=form.ranges,
        options={name: _plain(value) for name, value in given.items()},
        model_in_memory=in_memory,
        processor=", ".join(filter(None, (board.machine, board.model))),
        cores=board.cores,
    )


def _plain(value: Any) -> Any:
    """Return an option's value as JSON has it; Python's users may give paths, lists and numbers of NumPy."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return tuple(_plain(one) for one in value)
    return value.item() if hasattr(value, "item") else value


def options_again(name: str, manifest: Manifest, asked: ReproduceOptions) -> ConvertOptions:
    """Return the options with which a bundle was made.

    Args:
        name: What the bundle is called in messages.
        manifest: The bundle's manifest.
        asked: Says where the model, photos and other files are now.

    Raises:
        UnsupportedError: The bundle was not made by xedge, or its manifest does not say how.
        BundleError: The manifest has an option of the wrong type.
        InputError: What the bundle was made of is not where it was.
        UsageError: The model was in memory and no file of it is named, or it brings code, which is not allowed.
    """
    making = _known(name, manifest)
    given = _typed(name, manifest, making)
    if making.model_in_memory and asked.model is None:
        raise UsageError(f"{name}: its model was in memory; save it to a file and name it with {parameter('model')}")
    if given.get("allow_code") and not asked.allow_code:
        raise UsageError(
            f"{name}: was made with {parameter('allow_code')}, because its model brings code; read the code, and give "
            f"{parameter('allow_code')} to run it again"
        )
    for place in PLACES:
        now = getattr(asked, place)
        if now is not None:
            given[place] = str(now)
        elif place in given and _gone(place, given[place]):
            raise InputError(
                f"{name}: was made with {parameter(place)} {given[place]}, which is not there; say with "
                f"{parameter(place)} where it is now"
            )
    return ConvertOptions(target=manifest.target, precision=making.precision, ranges=making.ranges, **given)


def _known(name: str, manifest: Manifest) -> Making:
    """Return what the manifest says of how the bundle was made.

    Raises:
        UnsupportedError: It says nothing.
    """
    if manifest.wrapped:
        raise UnsupportedError(f"{name}: was wrapped and not made by xedge; wrap its file again and compare the two")
    if manifest.making is None:
        raise UnsupportedError(
            f"{name}: was made by an xedge that did not keep the options in the manifest; convert the model again to "
            "get a bundle that can be reproduced"
        )
    return manifest.making


def _typed(name: str, manifest: Manifest, making: Making) -> dict[str, Any]:
    """Return the options in the manifest by their names, with the types that they have for ``convert``."""
    kinds = typing.get_type_hints(ConvertOptions)
    unknown = sorted(making.options.keys() - (kinds.keys() - set(NOT_KEPT)))
    if unknown:
        raise UnsupportedError(
            f"{name}: its manifest names options that this version of xedge does not have ({', '.join(unknown)}); "
            f"reproduce it with xedge {manifest.xedge_version}"
        )
    try:
        return {
            one: from_json(str if one in PLACES else kinds[one], to_json(value), f"$.making.options.{one}")
            for one, value in making.options.items()
        }
    except BundleError as error:
        raise error.within(name) from error


def _gone(place: str, value: str) -> bool:
    """Whether there is nothing at a place; names that stand for no file are not looked for."""
    if place in PHOTOS:
        with suppress(InputError):
            check_named(value)
            return False
        return True
    if place == "preprocess":
        kind, _, value = value.partition(":")
        return kind in SCHEME_FILES and not Path(value).exists()
    names: Mapping[str, tuple[str, ...]] = {"model": (COMPACT, *BUILT_IN), "weights": ("imagenet",)}
    return value not in names.get(place, ()) and not Path(value).exists()
