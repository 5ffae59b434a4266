"""Make a bundle again from what its manifest says, and tell what is the same and what drifted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from xedge.bundle.manifest import HostAccuracy, Manifest
from xedge.bundle.reading import LABELS, Bundle, open_bundle
from xedge.codec import to_json
from xedge.conversion.making import PLACES, options_again
from xedge.conversion.options import ReproduceOptions
from xedge.conversion.pipeline import convert
from xedge.errors import UnsupportedError
from xedge.runtimes import choose_runtime
from xedge.types import Tensor


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Something that the bundle was made with and that is not the same now.

    Args:
        what: What it is, such as ``version of numpy``.
        before: What it was when the bundle was made.
        now: What it is now.
    """

    what: str
    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Constants:
    """How far the constants of the two artifacts differ: weights, biases and scales.

    Args:
        tensors: The number of constant tensors in the bundle's artifact.
        unmatched: The number of tensors that only one of the two artifacts has, or that have another shape or type.
        integers: The number of integers in the tensors that both have.
        changed_integers: How many of them differ.
        largest_steps: The greatest difference of an integer by type, such as ``int8`` of weights and ``int32`` of
            biases; only of types in which there is a difference.
        floats: The number of floats, which are scales among others.
        changed_floats: How many of them differ.
        largest_ratio: The greatest difference of a float, as a share of the greatest value of its tensor in the old
            artifact; 1 if all its values were 0.
    """

    tensors: int
    unmatched: int
    integers: int
    changed_integers: int
    largest_steps: dict[str, int]
    floats: int
    changed_floats: int
    largest_ratio: float


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A bundle and the one that was made again from its manifest.

    Args:
        schema: The kind of this document and its version.
        bundle: The name of the bundle.
        same: Whether every file but the manifest, which holds times, has the same bytes.
        same_files: The names of the files with the same bytes.
        changed_files: The names of the other files, those that only one of the two has among them.
        drifts: What is not as it was when the bundle was made.
        constants: How far the constants differ; None if the artifacts are the same, or their runtime cannot tell.
        output_difference: The greatest difference of a probability for the photos of the self-test, 0 to 1; None if
            these are not the same photos.
        top1: The top-1 accuracy of the bundle and of the one that was made again, 0 to 1; None if one of them was not
            measured.
    """

    schema: Literal["xedge.reproduce/1"] = "xedge.reproduce/1"
    bundle: str
    same: bool
    same_files: tuple[str, ...]
    changed_files: tuple[str, ...]
    drifts: tuple[Drift, ...]
    constants: Constants | None
    output_difference: float | None
    top1: tuple[float, float] | None


def reproduce_bundle(bundle: Bundle, asked: ReproduceOptions) -> Reproduction:
    """Make a bundle again and compare the two.

    Args:
        bundle: The bundle.
        asked: Says where that is now of which the bundle was made, and who is told what happens.

    Raises:
        XedgeError: With a line for the user; ``options_again`` says which.
    """
    options = options_again(str(bundle.source), bundle.manifest, asked)
    with tempfile.TemporaryDirectory(prefix="xedge-") as scratch:
        place = Path(scratch) / "again"
        convert(replace(options, output=place, report=asked.report, progress=asked.progress))
        return compared(bundle, open_bundle(place))


def compared(bundle: Bundle, again: Bundle) -> Reproduction:
    """Compare a bundle with the one that was made again."""
    old, new = bundle.manifest, again.manifest
    files = _named_alike(old, new)
    names = sorted(old.files.keys() | files.keys())
    same = tuple(name for name in names if old.files.get(name) == files.get(name))
    changed = tuple(name for name in names if name not in same)
    return Reproduction(
        bundle=bundle.source.name,
        same=not changed,
        same_files=same,
        changed_files=changed,
        drifts=tuple(_drifts(old, new)),
        constants=_constants(bundle, again) if set(changed) & set(_artifact_files(old)) else None,
        output_difference=_output_difference(bundle, again),
        top1=_top1(old.accuracy, new.accuracy),
    )


def _artifact_files(manifest: Manifest) -> list[str]:
    """Return the names of the artifact's files, which differ in their suffixes."""
    stem = PurePath(manifest.artifact).stem
    return [name for name in manifest.files if PurePath(name).stem == stem]


def _named_alike(old: Manifest, new: Manifest) -> dict[str, str]:
    """Return the files of the new bundle, the artifact's under the old names: models may be renamed."""
    of_artifact, stem = _artifact_files(new), PurePath(old.artifact).stem
    return {stem + PurePath(name).suffix if name in of_artifact else name: sha256 for name, sha256 in new.files.items()}


def _top1(old: HostAccuracy | None, new: HostAccuracy | None) -> tuple[float, float] | None:
    return None if old is None or new is None else (old.artifact.top1, new.artifact.top1)


def _drifts(old: Manifest, new: Manifest) -> Iterator[Drift]:
    """Yield what the two bundles were not made with alike."""
    before, now = _made_with(old), _made_with(new)
    for what in sorted(before.keys() | now.keys(), key=[*before, *now].index):
        if before.get(what) != now.get(what):
            yield Drift(what=what, before=_word(before.get(what)), now=_word(now.get(what)))


def _made_with(manifest: Manifest) -> dict[str, object]:
    """Return what the manifest says that a bundle was made with, in words; None is what it does not have."""
    recipe, calibration, accuracy, gate = manifest.recipe, manifest.calibration, manifest.accuracy, manifest.gate
    found: dict[str, object] = {
        "model file (sha256)": manifest.model.file_sha256,
        "weights (sha256)": manifest.model.weights_sha256,
        "labels (sha256)": manifest.files.get(LABELS),
        "way of conversion": recipe.way,
        "quantization of activations": recipe.activations,
        "quantization of weights": recipe.weights,
        "number of calibration photos": None if calibration is None else calibration.photos,
        "calibration photos (sha256)": None if calibration is None else calibration.sha256,
        "labelled photos (sha256)": None if accuracy is None else accuracy.sha256,
        "selection photos (sha256)": None if gate is None else gate.sha256,
        "attempt that was taken": None if gate is None else gate.rungs[gate.chosen].name,
    }
    found |= {f"preprocessing {name}": value for name, value in to_json(manifest.preprocessing).items()}
    found |= {f"version of {name}": version for name, version in manifest.tools.items()}
    if manifest.making is not None:
        found |= {"processor": manifest.making.processor, "cores": manifest.making.cores}
        options = manifest.making.options.items()
        found |= {f"option {name}": value for name, value in options if name not in PLACES}
    return found


def _word(value: object) -> str:
    return "none" if value is None else str(value)


def _output_difference(bundle: Bundle, again: Bundle) -> float | None:
    old, new = bundle.golden(), again.golden()
    if not np.array_equal(old.pixels, new.pixels) or old.expected.shape != new.expected.shape:
        return None
    return float(np.abs(old.expected - new.expected).max())


def _constants(bundle: Bundle, again: Bundle) -> Constants | None:
    """Return how far the constants differ; None if the runtime cannot tell."""
    try:
        old, new = (choose_runtime(one.artifact).constants(one.artifact) for one in (bundle, again))
    except UnsupportedError:
        return None
    return differences(old, new)


def differences(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> Constants:
    """Return how far the constants of two artifacts differ.

    Args:
        old: The constants of one artifact by name, of any shape, integers or floats.
        new: Those of the other one.
    """
    both = [n for n in old if n in new and (old[n].shape, old[n].dtype) == (new[n].shape, new[n].dtype)]
    integers = [_far(old[n], new[n]) for n in both if old[n].dtype.kind in "iu"]
    floats = [_far(old[n], new[n]) for n in both if old[n].dtype.kind == "f"]
    kinds = {one.kind for one in integers if one.changed}
    return Constants(
        tensors=len(old),
        unmatched=len(old.keys() | new.keys()) - len(both),
        integers=sum(one.values for one in integers),
        changed_integers=sum(one.changed for one in integers),
        largest_steps={kind: int(max(one.most for one in integers if one.kind == kind)) for kind in sorted(kinds)},
        floats=sum(one.values for one in floats),
        changed_floats=sum(one.changed for one in floats),
        largest_ratio=max((one.ratio for one in floats), default=0.0),
    )


@dataclass(frozen=True, kw_only=True)
class _Far:
    """How far two tensors of one shape differ.

    Args:
        kind: The type of their values.
        values: The number of values.
        changed: How many of them differ.
        most: The greatest difference.
        ratio: The greatest difference as a share of the greatest value of the old tensor; 1 if that is 0.
    """

    kind: str
    values: int
    changed: int
    most: float
    ratio: float


def _far(old: Tensor, new: Tensor) -> _Far:
    changed = int((old != new).sum())
    if not changed:
        return _Far(kind=str(old.dtype), values=old.size, changed=0, most=0, ratio=0)
    # Doubles hold integers of 32 bits and their differences.
    before, now = old.astype(np.float64), new.astype(np.float64)
    most, largest = float(np.abs(before - now).max()), float(np.abs(before).max())
    ratio = most / largest if largest else 1.0
    return _Far(kind=str(old.dtype), values=old.size, changed=changed, most=most, ratio=ratio)
